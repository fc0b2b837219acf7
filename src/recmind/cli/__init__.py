"""The command line: a command parses, calls one function, prints.

Results go to stdout, progress and messages to stderr, so that output can be
piped. Nothing heavy is imported before a command needs it: ``recmind --help``
answers at once.

Exit codes: 0 done, 1 unexpected failure (also a ``doctor`` that found
something broken), 2 wrong input or options, 3 training cannot go on,
130 interrupted, 141 the reader of a pipe went away.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from pydantic import ValidationError

from recmind import __version__
from recmind.cli.about import doctor, recipes, settings
from recmind.cli.data import demo, prepare
from recmind.cli.export import export
from recmind.cli.profiles import profiles
from recmind.cli.refresh import refresh
from recmind.cli.runs import evaluate, recommend, train
from recmind.cli.serve import key, serve
from recmind.cli.study import study
from recmind.cli.tune import tune
from recmind.errors import RecMindError

# The interpreter's last search for cycles goes through all of torch, for a second, before the process ends anyway.
atexit.register(gc.freeze)

DEBUG = "RECMIND_DEBUG"
"""Environment variable: any value but an empty one shows tracebacks."""

_HELP = """\
Recommendations from interactions and texts: what a language model reads and what a graph learns,
aligned and weighed per user and item. New and rare items are recommended from their text.

See it work on a generated shop:

    recmind demo

The way with your own data:

    recmind prepare table --interactions orders.csv --items products.csv \\
        --out data/shop
    recmind train data/shop --out runs/shop
    recmind recommend runs/shop --k 10 --out recommendations.parquet

Every command explains itself: `recmind COMMAND --help`.
"""

app = App(name="recmind", help=_HELP, help_format="markdown", version=__version__, suppress_keyboard_interrupt=False)
_WORK = (demo, prepare, profiles, train, evaluate, recommend, refresh, serve, key, export, study, tune)
for _command in (*_WORK, recipes, settings, doctor):
    app.command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    arguments:
        What follows ``recmind`` on the command line; ``sys.argv`` by default.
    """
    usual, warnings.formatwarning = warnings.formatwarning, lambda message, *_, **__: f"warning: {message}\n"
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python flushes stdout once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    finally:
        warnings.formatwarning = usual


def _run(arguments: list[str]) -> int:
    try:
        result = app(
            arguments, print_error=False, exit_on_error=False, result_action="return_value", help_on_error=False
        )
        return result if isinstance(result, int) else 0
    except CycloptsError as error:
        return _fail(_in_words(error), 2, hint=_help_command(arguments))
    except RecMindError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        raise
    except Exception as error:
        hint = "" if os.environ.get(DEBUG) else f"set {DEBUG}=1 for the traceback"
        return _fail(f"{type(error).__name__}: {error}", 1, hint=hint)


def _fail(message: str, code: int, *, hint: str = "") -> int:
    """Print ``message`` on stderr, inside an exception handler, and return ``code``."""
    if os.environ.get(DEBUG):
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"  hint:     {hint}", file=sys.stderr)
    return code


def _in_words(error: CycloptsError) -> str:
    """The parser's message; for settings given as options, pydantic's in the words of the command line."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return str(error).strip()
    return "\n".join(
        f"--{'-'.join(map(str, entry['loc'])).replace('_', '-')}: got {entry['input']!r}, "
        f"{entry['msg'][0].lower()}{entry['msg'][1:]}"
        for entry in cause.errors()
    )


def _help_command(arguments: list[str]) -> str:
    names = {name for name in app if not name.startswith("-")}
    command = next((word for word in arguments if word in names), "")
    return " ".join(part for part in ("recmind", command, "--help") if part)

"""One training of a study, in a process of its own: ``python -m recmind.studies.worker``.

So its peak memory is its own, and one that runs out of memory does not end the
study. The job is a line of JSON on stdin, which the study holds open: when the
study is gone, so is the training, and the next study goes on with it. stdout
gets the message of an error.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
import threading

from recmind.config.checking import validate_config
from recmind.errors import RecMindError


def main() -> int:
    """Read the job, train, and return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the study decides
    atexit.register(gc.freeze)  # as in recmind.cli
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    from recmind.pipeline import train_run

    try:
        config = validate_config(job["config"], where="settings of the study")
        train_run(job["dataset"], config, job["out"], resume=True, show_progress=job["show_progress"])
    except RecMindError as error:
        print(error)
        return error.exit_code
    return 0


def _end_with_the_study() -> None:
    # Not through sys.stdin: a thread that waits there keeps the interpreter from ending.
    while os.read(0, 1):
        pass
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())

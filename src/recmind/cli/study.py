"""Command about questions that take many runs: study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from recmind.cli.options import Flag


def study(
    dataset: Path,
    /,
    *,
    suite: str,
    out: Path,
    seeds: Annotated[tuple[int, ...], Parameter(consume_multiple=True, negative="")] = (0,),
    variants: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=False)] = (),
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    dry_run: Flag = False,
    quiet: Flag = False,
) -> int:
    """Make all runs that answer a question, and a table, a plot and a report of them.

    Each variant of a suite is trained once per seed, one run after the other. Stopped, the same command goes on:
    what is finished is not made again. More seeds are added by naming all of them.

    Suites: `warmup` (a warm-up on the alignment against none, stability over seeds), `adapters` (frozen language model
    against LoRA, with and without an instruction), `rank` (LoRA rank 4, 8, 16), `drift` (texts that change after
    training: old vectors, `recmind refresh`, a new training), `gate` (whether nodes with few interactions get more
    language), `cold` (items that nobody has bought yet), `few` (users with 1, 2, 3 or 5 interactions).

        recmind study data/beauty --suite adapters --out studies/adapters --dry-run
        recmind study data/beauty --suite adapters --out studies/adapters --seeds 0 1 2
        recmind study data/beauty --suite warmup --out studies/warmup --set training.max_epochs=60

    Parameters
    ----------
    dataset:
        Dataset folder, as `recmind prepare` makes it.
    suite:
        Name of the suite.
    out:
        Folder of the study: a run folder per variant and seed, `results.parquet`, `report.md` and `report.png`.
    seeds:
        Seeds; each variant is run once with each.
    variants:
        Only these variants of the suite, by the names of their folders: see `--dry-run`.
    settings:
        A setting as `key=value` for every run, for instance `training.max_epochs=50`; repeat it for more.
    dry_run:
        Print the runs, what is there of each, and their commands; make nothing.
    quiet:
        No progress on stderr.
    """
    from recmind.studies.report import REPORT
    from recmind.studies.study import list_runs, run_study

    if dry_run:
        for name, state, command in list_runs(dataset, suite, out, seeds=seeds, settings=settings, variants=variants):
            print(f"{name} ({state})\n  {command}")
        return 0
    found = run_study(dataset, suite, out, seeds=seeds, settings=settings, variants=variants, show_progress=not quiet)
    print(found.report.partition("\n## Commands")[0])
    print(f"\nThe report is {out / REPORT}")
    # Training cannot go on: 3.
    return 3 if found.failed else 0

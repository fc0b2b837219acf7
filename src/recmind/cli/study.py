"""Command about questions that take many runs: study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from recmind.cli.options import Flag


def study(
    dataset: Path,
    /,
    *,
    suite: str,
    out: Path,
    seeds: Annotated[tuple[int, ...], Parameter(consume_multiple=True, negative="", show_default=False)] = (),
    variants: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=False)] = (),
    recipes: Path | None = None,
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    dry_run: Flag = False,
    quiet: Flag = False,
) -> int:
    """Make all runs that answer a question, and a table, plots and a report of them.

    Each variant of a suite is trained once per seed, one run after the other. Stopped, the same command goes on:
    what is finished is not made again. More seeds and variants are added by naming them in another call: what
    earlier calls made stays in the report.

    Suites: `baselines` (RecMind against every other model), `ablation` (each part taken away or exchanged, sweeps of
    alpha, lambda and tau, for both recipes), `strata` (rare and popular items, new and active users), `seeds` (what is
    the luck of a seed), `warmup` (a warm-up on the alignment against none, stability over seeds), `adapters` (frozen
    language model against LoRA, with and without an instruction), `rank` (LoRA rank 4, 8, 16), `drift` (texts that
    change after training: old vectors, `recmind refresh`, a new training), `gate` (whether nodes with few interactions
    get more language), `cold` (items that nobody has bought yet), `few` (users with 1, 2, 3 or 5 interactions).

        recmind study data/beauty --suite adapters --out studies/adapters --dry-run
        recmind study data/beauty --suite adapters --out studies/adapters --seeds 0 1 2
        recmind study data/beauty --suite baselines --recipes tuned/beauty --out studies/baselines --seeds 0 1 2 3 4
        recmind study data/beauty --suite warmup --out studies/warmup --set training.max_epochs=60

    Parameters
    ----------
    dataset:
        Dataset folder, as `recmind prepare` makes it.
    suite:
        Name of the suite.
    out:
        Folder of the study: a run folder per variant and seed, `results.parquet`, `report.html` (one page that
        needs nothing else), `report.md` and `report.png`.
    seeds:
        Seeds; each variant is run once with each. Without it 0, and 0 to 4 of the suite `seeds`.
    variants:
        Only these variants of the suite, by the names of their folders: see `--dry-run`.
    recipes:
        Folder of recipes made by `recmind tune`, which take the place of the shipped ones in the suites that compare
        models: `<model>.toml`, or `<model>/<model>.toml`.
    settings:
        A setting as `key=value` for every run, for instance `training.max_epochs=50`; repeat it for more.
    dry_run:
        Print the runs, what is there of each, and their commands; make nothing.
    quiet:
        No progress on stderr.
    """
    from recmind.studies.report import PAGE
    from recmind.studies.study import list_runs, run_study

    chosen: dict[str, Any] = {"seeds": seeds or None, "settings": settings, "variants": variants, "recipes": recipes}
    if dry_run:
        for name, state, command in list_runs(dataset, suite, out, **chosen):
            print(f"{name} ({state})\n  {command}")
        return 0
    found = run_study(dataset, suite, out, **chosen, show_progress=not quiet)
    print(found.report.partition("\n## Commands")[0])
    print(f"\nThe report is {out / PAGE}")
    # Training cannot go on: 3.
    return 3 if found.failed else 0

"""Command that chooses settings on the validation part: tune."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import Parameter

from recmind.cli.options import Flag
from recmind.config import ModelName


def tune(
    dataset: Path,
    /,
    *,
    model: ModelName,
    out: Path,
    trials: int = 30,
    seed: int = 0,
    recipe: str = "default",
    space: Path | None = None,
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """Search the settings of a model that are best on the validation part, and write them as a recipe.

    Every model gets the same number of trials and the same early stopping. The test part is hidden from all
    trials. Stopped, the same command goes on; the same seed gives the same trials. With a larger `--trials` it
    goes on from those that are there.

        recmind tune data/beauty --model lightgcn --trials 30 --out tuned/beauty/lightgcn
        recmind train data/beauty --recipe tuned/beauty/lightgcn/lightgcn.toml --out runs/lightgcn
        recmind tune data/beauty --model ease --out tuned/ease --dry-run > my-space.toml
        recmind tune data/beauty --model ease --out tuned/ease --space my-space.toml

    Parameters
    ----------
    dataset:
        Dataset folder, as `recmind prepare` makes it.
    model:
        Model to tune.
    out:
        Folder of the tuning: `trials.parquet`, `report.html`, `report.md`, and the best settings as `<model>.toml`.
    trials:
        Trials in all; the first has the recipe's own settings, the next those of the space's starts. A model without
        settings gets one.
    seed:
        Seed of the search and of training.
    recipe:
        Recipe that the trials change.
    space:
        TOML file of what may be tried. Without it the model's own, of a recipe that has one that of the recipe;
        `--dry-run` prints it.
    settings:
        A setting as `key=value` for every trial, for instance `training.max_epochs=100`; repeat it for more. Give all
        models that are to be compared the same.
    dry_run:
        Check everything and print the space; make nothing.
    quiet:
        No progress on stderr.
    """
    from recmind.studies.report import PAGE
    from recmind.studies.tuning.space import space_text
    from recmind.studies.tuning.task import make_task
    from recmind.studies.tuning.tune import tune as run_tune

    if dry_run:
        make_task(dataset, model, recipe=recipe, space=space, settings=settings, seed=seed)
        print(space_text(model, space, recipe=recipe).rstrip())
        return
    found = run_tune(
        dataset,
        model,
        out,
        trials=trials,
        seed=seed,
        recipe=recipe,
        space=space,
        settings=settings,
        show_progress=not quiet,
    )
    print(found.report.partition("\n## Figure")[0])
    print(f"\nThe report is {out / PAGE}. Next:")
    print(f"  recmind train {quote(str(dataset))} --recipe {quote(str(found.recipe))} --out RUN")

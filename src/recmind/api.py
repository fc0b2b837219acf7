"""RecMind in Python: fit, recommend, save, load."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recmind.config import Config, load_config
from recmind.data.dataset import Dataset
from recmind.errors import RunError
from recmind.serving.recommender import LeaveOut, Recommender

if TYPE_CHECKING:
    from recmind.serving.refresh import Refreshed


class RecMind:
    """A recommender with the life of an estimator.

    Parameters
    ----------
    config:
        Settings; by default the recipe ``default``.
    **settings:
        Single settings on top, with dots as double underscores:
        ``RecMind(model__layers=3, seed=1)``.

    Examples
    --------
    >>> from recmind import Dataset, RecMind  # doctest: +SKIP
    >>> dataset = Dataset.from_frames(interactions, items)  # doctest: +SKIP
    >>> model = RecMind().fit(dataset)  # doctest: +SKIP
    >>> model.recommend(["alice"], k=10)  # doctest: +SKIP
    """

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        overrides = {name.replace("__", "."): value for name, value in settings.items()}
        if config is None:
            config = load_config(overrides=overrides)
        elif overrides:
            raise TypeError("give either a config or single settings, not both")
        self.config = config
        self.metrics: dict[str, Any] = {}
        self._run: Path | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._recommender: Recommender | None = None

    def fit(
        self, dataset: Dataset | str | Path, *, out: str | Path | None = None, show_progress: bool = True
    ) -> RecMind:
        """Train and evaluate on ``dataset``; ``out`` is the run folder, by default a temporary one."""
        from recmind.pipeline import train_run

        if out is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="recmind-")
            out = self._temporary.name
        self.metrics = train_run(dataset, self.config, out, resume=True, show_progress=show_progress)
        self._run, self._recommender = Path(out), Recommender.load(out)
        return self

    @property
    def recommender(self) -> Recommender:
        """What recommends; it is there after :meth:`fit` or :meth:`load`."""
        if self._recommender is None:
            raise RunError("the model is not trained yet", hint="call fit(dataset) or RecMind.load(run)")
        return self._recommender

    def recommend(self, users: list[str] | None = None, k: int = 10, *, leave_out: LeaveOut = "all") -> pl.DataFrame:
        """The k best items of each user: ``user_id``, ``item_id``, ``rank``, ``score``.

        With ``leave_out="all"`` the model knows everything in the dataset, what was held out too; see
        :meth:`~recmind.serving.recommender.Recommender.recommend`.
        """
        return self.recommender.recommend(users, k=k, leave_out=leave_out)

    def refresh(
        self,
        items: str | Path | pl.DataFrame | None = None,
        users: str | Path | pl.DataFrame | None = None,
        *,
        out: str | Path | None = None,
        show_progress: bool = False,
    ) -> Refreshed:
        """Read changed texts again and let new items in, without training: :func:`recmind.refresh` on the model's run.

        The run folder that the model was fitted in or loaded from is changed;
        with ``out`` a new one is written, and the model is that one from then on.
        """
        from recmind.serving.refresh import refresh

        if self._run is None:
            raise RunError("the model is not trained yet", hint="call fit(dataset) or RecMind.load(run)")
        result = refresh(self._run, items, users, out=out, show_progress=show_progress)
        self._run, self._recommender = result.run, Recommender.load(result.run)
        return result

    def save(self, path: str | Path) -> None:
        """Copy the run to a folder that is not there yet."""
        source, target = self._run, Path(path)
        if source is None:
            raise RunError("the model is not trained yet", hint="call fit(dataset) first")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RunError("there is a file, or a folder that is not empty", where=target, hint="choose another path")
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        shutil.copytree(source, staged, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))
        staged.chmod(0o755)
        staged.replace(target)

    @classmethod
    def load(cls, path: str | Path) -> RecMind:
        """A trained model from its run folder."""
        recommender = Recommender.load(path)
        model = cls(recommender.config)
        model._run, model._recommender = Path(path), recommender
        metrics = Path(path) / "metrics.json"
        if metrics.exists():
            import json

            model.metrics = json.loads(metrics.read_text(encoding="utf-8"))
        return model

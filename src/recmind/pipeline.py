"""The whole way from a dataset to a run, and what can be done with a run: the rooms in order."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import torch

from recmind.config import Config
from recmind.data.dataset import Dataset
from recmind.data.splitting import Split, split_dataset
from recmind.errors import ConfigError
from recmind.evaluation.evaluate import Evaluation, HeldOut, evaluate
from recmind.evaluation.report import metrics_document
from recmind.machine import Clock, environment, fitting_threads, resolve_device, threads
from recmind.model.graph import build_graph
from recmind.model.item_item import Computed
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.registry import Built, needs_text
from recmind.model.scorer import Scorer
from recmind.model.views import VectorScorer
from recmind.progress import note
from recmind.schema import Files, Tensors
from recmind.serving.recommender import LeaveOut, Recommender
from recmind.serving.tables import check_format, write_table
from recmind.training.fitting import Fitting
from recmind.training.run_folder import RunFolder
from recmind.training.run_model import RunModel

if TYPE_CHECKING:
    from recmind.training.language_phase import LanguagePhase


Known = Literal["train", "train+valid"]
"""What a model knows when it is evaluated."""


def train_run(
    dataset: str | Path | Dataset,
    config: Config,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Train the model of ``config`` on a dataset, evaluate it, and write the run folder.

    A finished run with the same settings and data is not trained again.

    Parameters
    ----------
    dataset:
        A dataset or the path of its folder.
    out:
        Run folder; made if missing.
    resume:
        Go on from the last checkpoint. The result is the same, bit for bit, as
        that of an undisturbed run.
    overwrite:
        Replace the run that is in ``out``.

    Returns
    -------
    dict
        What ``metrics.json`` holds.

    Raises
    ------
    DataError, ConfigError, EncoderError, RunError, TrainingError
        Each says what is wrong and what to do; see :mod:`recmind.errors`.
    """
    clock = Clock()
    run = RunFolder(out)
    with clock("load"):
        loaded = dataset if isinstance(dataset, Dataset) else Dataset.load(dataset)
        split = split_dataset(loaded, config.split)
    device = resolve_device(config.device)
    with run.claimed():
        fingerprint = run.begin(config, loaded, resume=resume, overwrite=overwrite)
        if run.finished:
            note("finished before, with the same settings and data; --overwrite trains it again", show=show_progress)
            return run.read_json(Files.METRICS)
        run.write_json(Files.ENVIRONMENT, environment(device))
        run.write_data(loaded, split)
        texts = None
        if needs_text(config.model.name):
            with clock("encode"):
                texts = text_inputs(loaded, split, config, run, show_progress=show_progress)
        with clock("graph"):
            graph = build_graph(split.train.users, split.train.items, split.n_users, split.n_items).to(device)
        fitting = Fitting(
            loaded,
            split,
            graph,
            texts.to(device) if texts else None,
            config,
            run,
            fingerprint=fingerprint,
            resume=resume,
            show_progress=show_progress,
        )
        with threads(config.threads or fitting_threads(len(split.train), config.model.dim)), clock("train"):
            trained = fitting.train()
        scorer, fitted = trained.scorer, trained.fitted
        if trained.phase is not None:
            texts = _trained_texts(trained.phase, run)
        if fitted is not None:
            clock.seconds["train"] = round(trained.seconds, 3)
        run.write_text(Files.HISTORY, "".join(json.dumps(row) + "\n" for row in (fitted.history if fitted else [])))
        tensors = _model_tensors(trained.model, scorer, texts)
        if fitted is not None and config.training.catch_up_epochs:
            with clock("catch up"):
                factor = (fitted.calibrated or {}).get("popularity_factor", 1.0)
                known = RunModel(trained.config, split, tensors, factor, fitted.best_epoch)
                tensors |= known.caught_up(show_progress=show_progress)
        run.write_model(tensors)
        with clock("evaluate"):
            results = {
                part: evaluate(scorer, split, part, config.evaluation, seed=config.seed, show_progress=show_progress)
                for part in ("valid", "test")
                if len(split.part(part))
            }
        for part, result in results.items():
            _write_per_user(run, part, result)
        metrics = metrics_document(
            dataset=str(loaded.info.get("name", "dataset")),
            model=config.model.name,
            recipe=config.recipe,
            seed=config.seed,
            split=config.split.kind,
            best_epoch=fitted.best_epoch if fitted else None,
            valid=results.get("valid"),
            test=results.get("test"),
            seconds=clock.seconds,
            peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        )
        if trained.tried:
            metrics["tried"] = [one.to_json() for one in trained.tried]
        if fitted is not None and fitted.calibrated:
            metrics["calibrated"] = {key: round(value, 6) for key, value in fitted.calibrated.items()}
        run.write_json(Files.METRICS, metrics)
        for name in (Files.CHECKPOINT, Files.TRIED, Files.BEST_TRIED):
            (run / name).unlink(missing_ok=True)
        shutil.rmtree(run / Files.TABLES, ignore_errors=True)
        return metrics


def evaluate_run(
    run: str | Path, split: HeldOut | None = None, *, known: Known = "train", show_progress: bool = True
) -> dict[str, Any]:
    """Rank the catalogue again for a held-out part of a run's data: by default the test part, where there is one.

    Parameters
    ----------
    known:
        What the model knows by then: the training part, or the validation
        interactions too, as in use
        (:meth:`~recmind.serving.recommender.Recommender.knowing`).

    Returns
    -------
    dict
        ``metrics.json`` of the run with this part measured anew, and ``known`` where that is more than ``train``.

    Raises
    ------
    ConfigError
        If the validation part is to be known and ranked for.
    """
    folder = RunFolder(run)
    config, recommender = folder.config(), Recommender.load(run)
    split = split or ("test" if len(recommender.split.test) else "valid")
    if known == "train+valid":
        if split == "valid":
            raise ConfigError("the validation part cannot be both known and held out", where="--known", got=known)
        recommender = recommender.knowing("valid", show_progress=show_progress)
    result = evaluate(
        recommender.scorer, recommender.split, split, config.evaluation, seed=config.seed, show_progress=show_progress
    )
    document = folder.read_json(Files.METRICS)
    if known == "train":
        _write_per_user(folder, split, result)
    else:
        document["known"] = known
    document[split] = result.metrics
    document["strata"], document["strata_of"] = result.strata, split
    document["intervals"] = {**document.get("intervals", {}), split: result.intervals}
    return document


def recommend_run(
    run: str | Path,
    out: str | Path | None = None,
    *,
    k: int = 40,
    users: str | Path | list[str] | None = None,
    new_items: str | Path | pl.DataFrame | None = None,
    leave_out: LeaveOut = "all",
    show_progress: bool = True,
) -> pl.DataFrame:
    """The k best items for each user of a run, as a table and, with ``out``, as a file.

    See :meth:`recmind.serving.recommender.Recommender.recommend` for the
    parameters; ``users`` and ``new_items`` may also be files.
    """
    if out is not None:
        check_format(out)
    recommender = Recommender.load(run)
    if new_items is not None:
        recommender.add_items(new_items, show_progress=show_progress)
    frame = recommender.recommend(users, k=k, leave_out=leave_out, show_progress=show_progress)
    if out is not None:
        write_table(frame, out)
    return frame


def text_inputs(
    dataset: Dataset, split: Split, config: Config, run: RunFolder | None = None, *, show_progress: bool = True
) -> TextInputs:
    """What the language model says about the nodes, as the model takes it; the encoder is noted in the run."""
    from recmind.language.features import language_features

    features = language_features(dataset, split, config.text, config.language, show_progress=show_progress)
    if run is not None:
        run.write_json(Files.ENVIRONMENT, {**run.read_json(Files.ENVIRONMENT), "encoder": features.encoder})
    own_users = config.text.user_view != "items"
    return TextInputs.from_arrays(
        features.items,
        features.items_known,
        features.users if own_users else None,
        features.users_known if own_users else None,
    )


def _trained_texts(phase: LanguagePhase, run: RunFolder) -> TextInputs:
    """Keep the adapters that made the vectors of the trained model, and return these."""
    phase.save(run / Files.ADAPTERS)
    run.write_json(Files.ENVIRONMENT, {**run.read_json(Files.ENVIRONMENT), "encoder": phase.manifest()})
    return phase.model.language.texts.to("cpu")


def _model_tensors(model: Built, scorer: Scorer, texts: TextInputs | None) -> dict[str, torch.Tensor]:
    if isinstance(model, Computed):
        tensors = model.tensors()
    else:
        assert isinstance(scorer, VectorScorer)
        tensors = {Tensors.USERS: scorer.users, Tensors.ITEMS: scorer.items}
        tensors |= {f"{Tensors.PARAMETERS}{name}": value for name, value in model.state_dict().items()}
    if texts is not None:
        texts = model.with_links(texts).to("cpu") if isinstance(model, RecMind) else texts
        tensors |= {f"{Tensors.TEXTS}{name}": value for name, value in vars(texts).items() if value is not None}
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def _write_per_user(run: RunFolder, part: str, result: Evaluation) -> None:
    from recmind.files import write_atomic

    write_atomic(run / Files.PER_USER.format(split=part), result.per_user.write_parquet)

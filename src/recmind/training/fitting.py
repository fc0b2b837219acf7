"""From settings to a trained model: computed or trained, once or as often as validation has something to choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from recmind.config import Config
from recmind.data.dataset import Dataset
from recmind.data.splitting import Split
from recmind.evaluation.evaluate import validation_metrics, validation_values
from recmind.files import write_atomic
from recmind.model.graph import BipartiteGraph
from recmind.model.item_item import Computed
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.registry import Built, build_model
from recmind.model.scorer import Scorer
from recmind.model.views import GraphModel
from recmind.schema import Files
from recmind.training.candidates import Candidate, Tried, asks_for_order, best_of, first_candidates, fit_best
from recmind.training.run_folder import RunFolder
from recmind.training.trainer import Fitted, Trainer

if TYPE_CHECKING:
    from recmind.language.training import TrainableTexts
    from recmind.training.language_phase import LanguagePhase


@dataclass(frozen=True)
class Trained:
    """A model that is ready, and how it came to be.

    Attributes
    ----------
    config:
        The settings, with what validation chose.
    fitted:
        Record of the training; ``None`` of a model that is computed.
    tried:
        The candidates; none where there was nothing to choose.
    phase:
        What trained the language model's adapters.
    """

    model: Built
    scorer: Scorer
    config: Config
    fitted: Fitted | None = None
    tried: list[Tried] = field(default_factory=list)
    phase: LanguagePhase | None = None

    @property
    def seconds(self) -> float:
        """Of all trainings; of an interrupted one those before count too, and reading a checkpoint does not."""
        assert self.fitted is not None
        chosen = best_of(self.tried) if self.tried else None
        return self.fitted.seconds + sum(one.seconds for one in self.tried if one.candidate != chosen)


class Fitting:
    """What the trainings of a run have in common.

    Parameters
    ----------
    texts:
        What the language model says about the nodes; ``None`` for models that do not read it.
    fingerprint:
        What the run depends on (:meth:`~recmind.training.run_folder.RunFolder.begin`).

    Raises
    ------
    ConfigError, EncoderError
        If adapters are to be trained and cannot be.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        graph: BipartiteGraph,
        texts: TextInputs | None,
        config: Config,
        run: RunFolder,
        *,
        fingerprint: str,
        resume: bool = False,
        show_progress: bool = True,
    ) -> None:
        self.split, self.graph, self.texts, self.config, self.run = split, graph, texts, config, run
        self.fingerprint, self.resume, self.show_progress = fingerprint, resume, show_progress
        self._trainable = self._trainable_texts(dataset)

    def train(self) -> Trained:
        """Make the model, with the best of what the settings leave to validation.

        Raises
        ------
        TrainingError, RunError
            As :meth:`~recmind.training.trainer.Trainer.fit`.
        """
        first, *others = first_candidates(self.config)
        choose = bool(others or asks_for_order(self.config)) and len(self.split.valid) > 0
        model = self._build(self.config)
        if isinstance(model, Computed):
            model.fit()
            return Trained(model, model, self.config)
        if not choose:
            return self._once(model, first.applied(self.config) if others else self.config)
        spare = [model]  # serves the first training that has the same parameters
        del model

        def fit(candidate: Candidate) -> tuple[GraphModel, Fitted]:
            config = candidate.applied(self.config)
            model = spare.pop() if spare and candidate.sequence else self._build(config)
            assert isinstance(model, GraphModel)
            fitted = self._trainer(model, config, mark=f", {candidate}").fit(resume=self.resume)
            # Gone before the result is noted: a checkpoint that is there belongs to what is not known yet.
            (self.run / Files.CHECKPOINT).unlink(missing_ok=True)
            return model, fitted

        kept, tried = fit_best(self.config, fit, lambda model: self._values(model.scorer()), *self._known(), self._note)
        config = best_of(tried).applied(self.config)
        if kept is not None and self._trainable is None:
            return Trained(kept[0], kept[0].scorer(), config, kept[1], tried)
        # The best one was chosen with the frozen model's vectors, and the adapters are trained once; or it was lost.
        del kept, spare[:]
        return self._once(self._build(config), config, tried)

    def _once(self, model: Built, config: Config, tried: list[Tried] | None = None) -> Trained:
        assert isinstance(model, GraphModel)
        phase = self._phase(model)
        fitted = self._trainer(model, config, phase).fit(resume=self.resume)
        return Trained(model, model.scorer(), config, fitted, tried or [], phase)

    def _build(self, config: Config) -> Built:
        return build_model(self.graph, self.texts, config.model, seed=config.seed)

    def _trainer(
        self, model: GraphModel, config: Config, phase: LanguagePhase | None = None, *, mark: str = ""
    ) -> Trainer:
        return Trainer(
            model,
            self.split,
            config,
            validate=self._validate if len(self.split.valid) else None,
            checkpoint=self.run / Files.CHECKPOINT,
            fingerprint=f"{self.fingerprint}{mark}",
            language=phase,
            title=f"Training {config.model.name}{mark}",
            show_progress=self.show_progress,
        )

    def _validate(self, scorer: Scorer) -> float:
        return validation_metrics(scorer, self.split, self.config.evaluation, metric=self.config.training.metric)

    def _values(self, scorer: Scorer) -> np.ndarray:
        return validation_values(scorer, self.split, self.config.evaluation, metric=self.config.training.metric)

    def _known(self) -> tuple[list[Tried], np.ndarray | None]:
        noted, best = self.run / Files.TRIED, self.run / Files.BEST_TRIED
        tried = [Tried.of(row) for row in self.run.read_json(Files.TRIED)] if noted.exists() else []
        return tried, np.frombuffer(best.read_bytes()) if tried and best.exists() else None

    def _note(self, tried: list[Tried], best: np.ndarray | None) -> None:
        if best is not None:  # first: should only this be written, the best one is tried again
            write_atomic(self.run / Files.BEST_TRIED, lambda part: part.write_bytes(best.tobytes()))
        self.run.write_json(Files.TRIED, [one.to_json() for one in tried])

    def _trainable_texts(self, dataset: Dataset) -> TrainableTexts | None:
        """Texts behind adapters that learn, where the settings ask for some and the model aligns texts."""
        if not self.config.language.adapters.rank or self.config.model.name != "recmind" or self.texts is None:
            return None
        from recmind.language.training import TrainableTexts

        return TrainableTexts(
            dataset, self.split, self.config, self.run / Files.TABLES, show_progress=self.show_progress
        )

    def _phase(self, model: GraphModel) -> LanguagePhase | None:
        if self._trainable is None:
            return None
        from recmind.training.language_phase import LanguagePhase

        assert isinstance(model, RecMind) and self.texts is not None
        return LanguagePhase(
            model, self._trainable, self.split, self.config, self.texts, show_progress=self.show_progress
        )

"""How a run ranks in use: the test part, right after the validation interactions have become known.

By the protocol a model knows the training part alone, so the interaction right before the tested one is
kept from it. Whoever gets a list gets it right after the latest interaction. Here every model knows the validation
interactions too: graphs, histories and latest items hold them, trained models
train on with them, or anew for as many epochs as were best (``training.catch_up_epochs``; in the recipes RecMind's
`default` trains on, which is quicker and costs it a little, every other model anew), and models without epochs are
computed anew with the same settings (:meth:`recmind.serving.recommender.Recommender.knowing`). Next-item evaluations
of sequence models do it like this as a rule. Nothing is chosen by it.
"""

from __future__ import annotations

from pathlib import Path

from recmind.evaluation.evaluate import Evaluation, evaluate
from recmind.serving.recommender import Recommender


def in_use(run: str | Path, *, bootstrap: int = 1000) -> Evaluation | None:
    """Measure a finished run on the test part with the validation part known; ``None`` without a test part.

    Parameters
    ----------
    bootstrap:
        Resamples of the users for the intervals.
    """
    recommender = Recommender.load(run)
    if not len(recommender.split.test):
        return None
    known, config = recommender.knowing("valid"), recommender.config
    settings = config.evaluation.model_copy(update={"bootstrap": bootstrap})
    return evaluate(known.scorer, known.split, "test", settings, seed=config.seed, show_progress=False)

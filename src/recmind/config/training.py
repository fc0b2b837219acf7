"""Settings of training and of the evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from recmind.config.base import Positive, Settings

_Above0 = Annotated[float, Field(gt=0.0)]


class TrainingConfig(Settings):
    """Loss, negatives, schedule and optimiser."""

    loss: Literal["bpr", "softmax"] = "bpr"
    """`bpr` (the paper) or `softmax`: sampled softmax over the positive and the negatives."""
    temperature: _Above0 | Annotated[tuple[_Above0, ...], Field(min_length=1)] = 1.0
    """Divisor of the scores in the recommendation loss. With a list each of its temperatures is trained, and the one
    that is best on the validation part is kept; without such a part the first one counts."""
    negatives: Literal["uniform", "popularity"] = "uniform"
    """How negatives are drawn: every item alike, or ∝ degree^ρ."""
    n_negatives: Positive = 1
    """Negatives per positive. With `softmax` they are shared by the whole batch."""
    cold_negatives: bool = True
    """Draw items without a training interaction as negatives too. Off, what nobody has bought is not
    learnt to be unwanted: more new items are recommended, and less of a catalogue full of unsold ones
    is kept out of the lists."""
    popularity_exponent: Annotated[float, Field(ge=0.0)] = 0.75
    """ρ of the popularity-aware draw."""
    hard_candidates: Positive = 1
    """Draw this many negatives and keep the one that scores highest (`bpr` only); 1 keeps the draw."""
    batch_size: Positive = 2048
    """Training interactions per step; fewer where there are not enough for 5 steps an epoch."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """Adam's step size."""
    learning_rate_batch: Annotated[int, Field(ge=0)] = 0
    """Batch size that `learning_rate` is meant for: with another one it is multiplied with their ratio, since a larger
    batch needs a larger step (linear scaling, Goyal et al. 2017). 0: it is taken as it stands."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    """β of the L2 term Ω on the initial embeddings of the batch."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """T_w: epochs on the alignment alone before the joint phase (paper: 5 to 10)."""
    max_epochs: Positive = 200
    """Epochs of the joint phase at most."""
    eval_every: Positive = 5
    """Epochs between two validations."""
    patience: Positive = 5
    """Validations without a better result before training stops."""
    metric: str = "ndcg@20"
    """Validation metric that early stopping watches."""
    calibrate: bool = False
    """After the last epoch, choose on the validation part how much a user's latest items count
    (`model.recent.weight` is only the start then), how much what came after them and how much histories in their order,
    where `model.transitions.weight` and `model.sequence.weight` are not 0, by how much the popularity term of
    `recmind` is too large, and from how many interactions on it tells items apart."""
    catch_up_epochs: Annotated[int, Field(ge=0)] | Literal["anew"] = 0
    """When all is measured, train on for so many epochs, with a third of the step size, on the held-out interactions
    too: for the lists in use, which are made when these are known. `anew` trains from the start with them, for as many
    epochs as the best one had, which slow learners need. What is measured stays without."""
    checkpoint_seconds: Annotated[float, Field(ge=0.0)] = 60.0
    """Write a checkpoint at the end of an epoch when the last one is older than this."""

    @field_validator("catch_up_epochs", mode="before")
    @classmethod
    def _epochs_or_anew(cls, value: object) -> object:
        if value != "anew" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError("input should be a whole number that is not negative, or 'anew'")
        return value

    @field_validator("temperature", mode="before")
    @classmethod
    def _number_or_numbers(cls, value: object) -> object:
        """One problem in place of one for each way in which the value could have been meant."""
        numbers = value if isinstance(value, list | tuple) else [value]
        if not numbers or not all(isinstance(n, int | float) and not isinstance(n, bool) and n > 0 for n in numbers):
            raise ValueError("input should be a number greater than 0, or a list of such numbers")
        return value

    @property
    def temperatures(self) -> tuple[float, ...]:
        """:attr:`temperature` as a list; the first one counts where nothing chooses."""
        return self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)


class EvaluationConfig(Settings):
    """Full-ranking evaluation."""

    cutoffs: Annotated[tuple[Positive, ...], Field(min_length=1)] = (10, 20, 40)
    """The K of every metric@K."""
    block_users: Positive = 1024
    """Users ranked at once; memory is block_users x n_items x 4 bytes."""
    bootstrap: Annotated[int, Field(ge=0)] = 1000
    """Bootstrap resamples of the users for the 95% intervals; 0 leaves the intervals out."""

"""Settings of the language model's adapters and of their training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recmind.config.base import Settings


class AdapterConfig(Settings):
    """LoRA adapters of the language model (Hu et al. 2022), trained by aligning texts with the graph view of the
    same nodes; the model itself stays frozen. They belong to `model.name = "recmind"`, other models pass them over.
    Temperature, sides, momentum queue and hard negatives are those of `[alignment]`."""

    rank: Annotated[int, Field(ge=0)] = 0
    """r of the update W + (alpha / r) B A. 0: no adapters, texts are encoded once by the frozen model."""
    alpha: Annotated[float, Field(gt=0.0)] = 16.0
    """Scale of the update."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """Dropout on what the adapters read. The language model's own dropout stays off."""
    targets: Literal["auto", "attention"] | tuple[str, ...] = "auto"
    """Which linear layers get an adapter. `auto`: those of attention and MLP in every block; `attention`: those of
    attention alone; or names as in the model's code, such as `["q_proj", "v_proj"]`."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """AdamW's step size for the adapters, at its highest: it rises for a tenth of the steps and falls to zero."""
    projection_learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """The same for the projection W_proj, which learns along."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """AdamW's weight decay of the adapters."""
    batch_size: Annotated[int, Field(ge=2)] = 256
    """Texts per side in one contrastive batch. Memory does not depend on it: see `micro_tokens`."""
    micro_tokens: Annotated[int, Field(ge=64)] = 4096
    """Tokens that are encoded at once with a gradient; decides how much memory a step takes. A batch of more is
    encoded twice, in parts, with the same result (gradient cache, Gao et al. 2021)."""
    text_neighbours: Annotated[int, Field(ge=0)] = 1
    """Hard negatives by text: for each text drawn into a batch so many of the texts nearest to it join the batch."""
    graph_epochs: Annotated[int, Field(ge=0)] = 8
    """Epochs of the joint phase before the texts are aligned for the first time: a graph that has learnt nothing
    teaches nothing. Where validation stops training earlier, the adapters are trained then. 0: right after the
    warm-up."""
    steps: Annotated[int, Field(ge=0)] = 200
    """Steps of that first training of the adapters; all texts are encoded anew after it."""
    joint_steps: Annotated[int, Field(ge=0)] = 50
    """Steps before each later refresh."""
    refresh_every: Annotated[int, Field(ge=0)] = 0
    """Epochs between two refreshes of the items' vectors in the joint phase; 0: none after the first."""
    refresh_users_every: Annotated[int, Field(ge=0)] = 0
    """The same for users' vectors, where `text.user_view` gives users a text: usually more often than items."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of the language model's blocks and compute them again on the way back: a third more
    time, much less memory."""


Minutes = Annotated[float, Field(gt=0.0)]
"""A time budget."""

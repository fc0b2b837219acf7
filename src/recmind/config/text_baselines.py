"""Settings of the baselines that read texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recmind.config.base import Positive, Settings

_NotNegative = Annotated[float, Field(ge=0.0)]
_Above0 = Annotated[float, Field(gt=0.0)]
_Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class LLMInitConfig(Settings):
    """How text vectors become the start of LightGCN's free vectors, of `llm-init`."""

    reduction: Literal["pca", "projection"] = "pca"
    """From d_lm to `model.dim` numbers: `pca`, the principal components of the items' texts, or `projection`, a random
    one with orthogonal columns. The result has the spread `model.init_std`."""
    whiten: bool = False
    """Give all principal components the same spread (`pca` only)."""


class RLMRecConConfig(Settings):
    """Alignment of the graph view with projected texts, of `rlmrec-con` (Ren et al. 2024)."""

    weight: _NotNegative = 0.01
    """Weight of the alignment (paper: 0.01, on Steam 0.001)."""
    temperature: _Above0 = 0.2
    """τ, the divisor of the cosine (paper: 0.2, on Steam 0.1)."""
    batch_size: Annotated[int, Field(ge=2)] = 4096
    """Users, bought items and negatives in one contrastive batch at most, each; of more a random choice."""
    edge_dropout: _Share = 0.2
    """Share of the interactions that each step leaves out of the propagation (authors' code: 0.2)."""


class RLMRecGenConfig(Settings):
    """Reconstruction of the texts of masked nodes, of `rlmrec-gen` (Ren et al. 2024)."""

    weight: _NotNegative = 0.1
    """Weight of the reconstruction (paper: 0.1, on Yelp 0.01)."""
    temperature: _Above0 = 0.5
    """τ, the divisor of the cosine (paper: 0.5, on Yelp 0.1)."""
    mask: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Share of the nodes whose free vector is hidden in a step (paper: 0.15, on Yelp 0.05)."""
    batch_size: Annotated[int, Field(ge=2)] = 4096
    """Masked nodes in one contrastive batch at most; of more a random choice."""
    edge_dropout: _Share = 0.2
    """Share of the interactions that each step leaves out of the propagation (authors' code: 0.2)."""


class AlphaRecConfig(Settings):
    """The projection of `alpharec` (Sheng et al. 2025)."""

    hidden: _Above0 = 0.5
    """Width of the hidden layer as a multiple of d_lm (paper: 0.5 for vectors of 3072 numbers, 2 for 1536, 8 for 768,
    so that all have about as many parameters)."""


class KarConfig(Settings):
    """The mixture of experts that adapts texts, of `kar` (Xi et al. 2024)."""

    shared_experts: Positive = 2
    """Experts that users and items share (paper's code: 2)."""
    own_experts: Positive = 2
    """Further experts of the users and of the items each (paper's code: 2 to 6)."""
    hidden: Positive = 128
    """Width of each expert's hidden layer (paper's code: 128)."""
    size: Positive = 32
    """Numbers that the text adds to a node's vector (paper's code: 32)."""


class DropoutNetConfig(Settings):
    """The two networks over preferences and contents, of `dropoutnet` (Volkovs et al. 2017)."""

    dropout: _Share = 0.5
    """Share of the users and of the items of a step whose preference is hidden (paper: 0.5)."""
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (800, 400)
    """Widths of the hidden layers (paper: 800, 400)."""

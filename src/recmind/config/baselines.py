"""Settings of the baselines that have some of their own; each is read by the models that its docstring names."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from recmind.config.base import Fraction, Positive, Settings
from recmind.config.text_baselines import (
    AlphaRecConfig,
    DropoutNetConfig,
    KarConfig,
    LLMInitConfig,
    RLMRecConConfig,
    RLMRecGenConfig,
)

NotNegative = Annotated[float, Field(ge=0.0)]


class KnnConfig(Settings):
    """Item neighbours, of `item-knn` and `item-knn-text`."""

    neighbours: Positive = 100
    """k, how many neighbours each item keeps."""
    shrink: NotNegative = 0.0
    """Added to the divisor of the cosine: similarities that rest on few interactions count less."""
    text_weight: NotNegative = 0.5
    """Weight of the text similarity beside the neighbours, both as z-scores over the catalogue
    (`item-knn-text` only)."""


class EaseConfig(Settings):
    """The closed form of `ease`."""

    regularisation: Annotated[float, Field(gt=0.0)] = 100.0
    """λ, added to the diagonal of the items' co-occurrence matrix."""


class IalsConfig(Settings):
    """Weighted least squares, of `ials`; the size of the vectors is `model.dim`."""

    alpha: NotNegative = 20.0
    """α: an interaction counts 1 + α times as much as a pair without one."""
    regularisation: Annotated[float, Field(gt=0.0)] = 10.0
    """λ, of the squared length of every vector."""
    iterations: Positive = 15
    """How often users and items are solved for."""


class XSimGCLConfig(Settings):
    """Noise and contrast, of `xsimgcl`."""

    noise: NotNegative = 0.2
    """ε, length of the noise that each layer gets in training."""
    weight: NotNegative = 0.2
    """λ of the contrast between the mean of the layers and one of them."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.2
    """τ, the divisor of the cosine in the contrast."""
    layer: Positive = 1
    """l*, the layer that is contrasted; at most `model.layers`."""


class NGCFConfig(Settings):
    """Messages, of `ngcf`."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of the entries of each propagated layer that are dropped in training; 0.1 in the paper."""
    slope: Fraction = 0.2
    """Slope of the LeakyReLU below zero; 0.2 in the authors' code, and 1 is none."""
    normalise: bool = False
    """Give every layer but E^(0) rows of length 1 where layers are concatenated: as the authors' code has it, and the
    paper does not."""


class SGLConfig(Settings):
    """Thinned graphs and their contrast, of `sgl`."""

    augmentation: Literal["edge", "node", "walk"] = "edge"
    """What is left out of a view's graph: `edge`, interactions (ED); `node`, users and items (ND); `walk`,
    interactions, others in each layer (RW). Drawn anew in each epoch."""
    ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """ρ, the share that is left out; the paper tries 0 to 0.5 and takes 0.1."""
    weight: NotNegative = 0.1
    """λ of the contrast between both views; the paper tries 0.005 to 1 and takes 0.1 or 0.5."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.2
    """τ, the divisor of the cosine in the contrast; 0.2 in the paper."""


class SimGCLConfig(Settings):
    """Noise and contrast, of `simgcl`."""

    noise: NotNegative = 0.1
    """ε, length of the noise that each layer of a view gets in training; 0.1 in the paper."""
    weight: NotNegative = 0.5
    """λ of the contrast between both views; the paper takes 0.2, 0.5 or 2, by data."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.2
    """τ, the divisor of the cosine in the contrast; 0.2 in the paper."""


class LightGCLConfig(Settings):
    """Singular vectors and contrast, of `lightgcl`."""

    rank: Positive = 5
    """q, how many singular vectors make up the global view; at most the users and the items there are. 5 in the
    paper."""
    slope: Fraction = 0.5
    """Slope of the LeakyReLU below zero; 0.5 in the paper, and 1 is none."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the interactions that each step leaves out of the propagation; 0 in the authors' runs, and the paper
    tries 0.25 too."""
    weight: NotNegative = 0.2
    """λ of the contrast between local and global layers; 0.2 in the authors' runs."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.2
    """τ, the divisor of the cosine in the contrast; the paper tries 0.1 to 10, the authors' runs take mostly 0.2."""


class SASRecConfig(Settings):
    """The Transformer of `sasrec` (Kang and McAuley 2018); `model.layers` are its blocks."""

    heads: Positive = 1
    """How many parts of the vectors attend on their own; a divisor of `model.dim` (paper: 1)."""
    length: Positive = 100
    """n, how many of a user's latest items are read (paper: 50 for Amazon, 200 for MovieLens). Longer histories are
    learnt from in pieces of this length."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Share of the entries that are dropped in training (paper: 0.5 for Amazon, 0.2 for MovieLens)."""
    places: Literal["start", "end"] = "start"
    """From where an item's place in the history is counted (paper: end)."""


READERS: Final = {
    "knn": ("item-knn", "item-knn-text"),
    "ease": ("ease",),
    "ials": ("ials",),
    "xsimgcl": ("xsimgcl",),
    "ngcf": ("ngcf",),
    "sgl": ("sgl",),
    "simgcl": ("simgcl",),
    "lightgcl": ("lightgcl",),
    "sasrec": ("sasrec",),
    "llm_init": ("llm-init",),
    "rlmrec_con": ("rlmrec-con",),
    "rlmrec_gen": ("rlmrec-gen",),
    "alpharec": ("alpharec",),
    "kar": ("kar",),
    "dropoutnet": ("dropoutnet",),
}
"""Which models read which section; a run of another model does not depend on it."""


class BaselinesConfig(Settings):
    """What only baselines read."""

    knn: KnnConfig = KnnConfig()
    ease: EaseConfig = EaseConfig()
    ials: IalsConfig = IalsConfig()
    xsimgcl: XSimGCLConfig = XSimGCLConfig()
    ngcf: NGCFConfig = NGCFConfig()
    sgl: SGLConfig = SGLConfig()
    simgcl: SimGCLConfig = SimGCLConfig()
    lightgcl: LightGCLConfig = LightGCLConfig()
    sasrec: SASRecConfig = SASRecConfig()
    llm_init: LLMInitConfig = LLMInitConfig()
    rlmrec_con: RLMRecConConfig = RLMRecConConfig()
    rlmrec_gen: RLMRecGenConfig = RLMRecGenConfig()
    alpharec: AlphaRecConfig = AlphaRecConfig()
    kar: KarConfig = KarConfig()
    dropoutnet: DropoutNetConfig = DropoutNetConfig()

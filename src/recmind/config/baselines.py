"""Settings of the baselines that have some of their own; each is read by the models that its docstring names."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from recmind.config.base import Positive, Settings

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


READERS: Final = {"knn": ("item-knn", "item-knn-text"), "ease": ("ease",), "ials": ("ials",), "xsimgcl": ("xsimgcl",)}
"""Which models read which section; a run of another model does not depend on it."""


class BaselinesConfig(Settings):
    """What only baselines read."""

    knn: KnnConfig = KnnConfig()
    ease: EaseConfig = EaseConfig()
    ials: IalsConfig = IalsConfig()
    xsimgcl: XSimGCLConfig = XSimGCLConfig()

"""Settings of the model: which one, its size, the gate, the alignment of its two views."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recmind.config.base import Fraction, Positive, Settings
from recmind.config.baselines import BaselinesConfig

ModelName = Literal[
    "recmind",
    "lightgcn",
    "text",
    "popularity",
    "item-knn",
    "item-knn-text",
    "content-knn",
    "sequential-rules",
    "ease",
    "bpr-mf",
    "ials",
    "ngcf",
    "sgl",
    "simgcl",
    "xsimgcl",
    "lightgcl",
    "sasrec",
    "llm-init",
    "rlmrec-con",
    "rlmrec-gen",
    "alpharec",
    "kar",
    "dropoutnet",
]


class GateConfig(Settings):
    """How much of the graph and of the language each node sends through each layer."""

    kind: Literal["node-layer", "late", "none"] = "node-layer"
    """`node-layer`: a gate per node and layer (equation of the paper). `late`: the graph alone flows, and one gate per
    node mixes its two views at the end, in place of α. `none`: the graph alone flows, and α mixes the views."""
    init_bias: float = 0.0
    """Start value of b. 0 gives both views the same share at the start."""


class RecentConfig(Settings):
    """What a user's latest training items add to the user's vector once it is trained. Read by every model that is
    trained on the graph; the recipes set it for `recmind` alone."""

    weight: Annotated[float, Field(ge=0.0)] = 0.0
    """ρ in h_u + ρ Σ_m ω_m h_{j_m}. 0: the latest items count no more than others. With `training.calibrate` validation
    data choose another one."""
    decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """How much less the item before counts: ω_m ∝ decay^m, m = 0 for the latest. 1: all alike; 0: the latest alone."""
    items: Positive = 10
    """How many of the latest items count."""


class SequenceConfig(Settings):
    """The sequence encoder of `recmind`: a causal Transformer that reads the vectors of a user's items in their order
    and is trained along to say which item comes next (`recmind.model.sequence`)."""

    weight: Annotated[float, Field(ge=0.0)] = 0.0
    """ρ_S in h_u + ρ_S s_u, with s_u the encoder's state after the user's history. 0: there is no encoder (the
    paper). With `training.calibrate` validation data choose another one, maybe 0."""
    optional: bool = False
    """Train without the encoder as well, with the temperature that is best with it, and keep that model unless the one
    with the encoder is better on the validation part by more than one standard error."""
    blocks: Positive = 1
    """How many blocks of attention and layers there are."""
    heads: Positive = 1
    """How many parts of the vectors attend on their own; a divisor of `model.dim`."""
    length: Positive = 100
    """How many of a user's latest items are read. Longer histories are learnt from in pieces of this length."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """Share of the entries that are dropped in training."""
    places: Literal["start", "end"] = "start"
    """From where an item's place in the history is counted."""
    own_items: bool = False
    """Whether the encoder has item vectors of its own, near the others: m_i = h_i + e_i with a free e_i is what it
    reads and what its states are scored against, ⟨h_u, h_i⟩ + ρ_S ⟨s_u, m_i⟩."""


class TransitionsConfig(Settings):
    """What came after a user's latest items in the histories of others, as a sparse term of the score:
    σ Σ_m ω_m T_{j_m, i}, j_0 the user's latest item, j_1 the one before. Read by every model that is trained on the
    graph, where the recipes set it for `recmind` alone, and without its weight by `sequential-rules`."""

    weight: Annotated[float, Field(ge=0.0)] = 0.0
    """σ. 0: what came next is not counted. With `training.calibrate` validation data choose another one."""
    window: Annotated[int, Field(ge=1, le=100)] = 20
    """How many items after an item count as what came next. Time grows with it."""
    decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.9
    """How much less an item counts that came one place later. 0: the very next alone."""
    shrink: Annotated[float, Field(ge=0.0)] = 20.0
    """Added to the count of all that came after an item, so that an item that was followed seldom says little."""
    recency: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """How much less what came after the item before counts: ω_m ∝ recency^m. 0: after the latest item alone."""
    items: Positive = 10
    """How many of the latest items count."""
    keep: Positive = 200
    """How many of the items that came after an item most often are kept: 8 bytes each."""


class AlignmentConfig(Settings):
    """The symmetric contrastive loss (InfoNCE) that pulls the two views of a node together."""

    weight: Annotated[float, Field(ge=0.0)] = 0.1
    """λ. 0 switches the alignment off in the joint phase."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.2
    """τ, the divisor of the cosine."""
    sides: Literal["both", "users", "items"] = "both"
    """Whose views are aligned."""
    batch_size: Annotated[int, Field(ge=2)] = 1024
    """Nodes per side in one contrastive batch."""
    queue_size: Annotated[int, Field(ge=0)] = 0
    """Length of the momentum queue of further negatives per side; 0 switches it off."""
    queue_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Momentum of the key projection that fills the queue."""
    hard_negatives: Annotated[int, Field(ge=0)] = 0
    """How many of the most similar negatives of each row are counted twice; 0 switches it off."""


class ModelConfig(Settings):
    """The model."""

    name: ModelName = "recmind"
    """`recmind`, or a baseline: `lightgcn`, `text` (graph over text embeddings alone), `popularity`, `item-knn`,
    `item-knn-text` (item neighbours and likeness of texts), `content-knn` (likeness of texts alone),
    `sequential-rules` (what came after the latest items), `ease`, `bpr-mf`, `ials`, `ngcf`, `sgl`, `simgcl`, `xsimgcl`,
    `lightgcl`, `sasrec` (a Transformer over histories); with texts `llm-init`, `rlmrec-con`, `rlmrec-gen`, `alpharec`,
    `kar`, `dropoutnet`."""
    dim: Positive = 64
    """d, the size of every node's vector."""
    layers: Annotated[int, Field(ge=0, le=8)] = 2
    """L, how many times vectors are propagated."""
    init_std: Annotated[float, Field(gt=0.0)] = 0.1
    """Standard deviation of the free part of E^(0) at the start."""
    initial: Literal["free", "free+text"] = "free"
    """E^(0): `free` parameters alone (the paper), or a free part plus the language view."""
    text_links: Annotated[int, Field(ge=0)] = 0
    """How many of the items nearest by text lend an item their free vectors: E^(0)_i gets Σ_j S_ij E_free_j besides its
    own, S_ij ∝ the cosine of the texts, Σ_j S_ij = 1. 0: none (the paper). Found by comparing all items with each
    other: a minute for 100,000."""
    alpha: Fraction = 0.5
    """α in h = α z^G + (1-α) z^L."""
    alpha_by_text: bool = False
    """Give z^L its share 1-α only as far as texts are known: α_v = 1 - (1-α) k_v, k_v 1 with a text and 0 without
    one, and for a user without an own text the share of the training items that have one."""
    score: Literal["dot", "cosine"] = "dot"
    """How s(u, i) is read off h_u and h_i: inner product (the paper) or cosine."""
    popularity: bool = False
    """Add w d̃_i to the score, with one learnt w: how much an item's popularity counts. Cosine
    scores cannot tell popular items from others by the length of their vectors."""
    projection: Literal["linear", "mlp"] = "linear"
    """W_proj: `linear` (the paper) or an MLP with one hidden layer."""
    projection_hidden: Positive = 256
    """Width of the projection MLP's hidden layer."""
    text_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout on the text embeddings before the projection."""
    missing_text: Literal["fallback", "free"] = "fallback"
    """What stands for the text of a node that has none: `fallback`, a guess by a small MLP from its neighbours'
    texts and its degree, or `free`, the node's own free vector, which leans on the graph alone. The model `text`
    has no free vectors and always falls back. `llm-init`, `kar` and `dropoutnet` have no such MLP: with `fallback` they
    read the neighbours' mean text vector (`alpharec` always does), with `free` nothing; `rlmrec-con` and `rlmrec-gen`
    align nothing with a text that is missing."""
    fallback_mask: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of known texts hidden in each step to train the fallback MLP; unused with `missing_text` = `free`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the products in the projection. `auto`: bfloat16 where the hardware has
    matrix units for it (AMX, CUDA), else float32. Sums and parameters are always float32."""
    storage: Literal["float32", "bfloat16"] = "float32"
    """Number format in which a hop over the graph leaves its result to the next one. `bfloat16` halves what is
    read per edge at three digits of precision; sums are float32."""
    gate: GateConfig = GateConfig()
    """The gate."""
    recent: RecentConfig = RecentConfig()
    """The latest items of a user."""
    sequence: SequenceConfig = SequenceConfig()
    """Histories read in order."""
    transitions: TransitionsConfig = TransitionsConfig()
    """What came next."""
    baselines: BaselinesConfig = BaselinesConfig()
    """What only baselines read."""

"""Settings: frozen, typed, documented field by field, checked all at once.

The docstring under a field is its documentation: ``--help`` and
``docs/settings.md`` are made from it. A recipe is a TOML file with any of these
settings; what it leaves out keeps the default given here. Settings for one
model only stand in a table ``[overrides.<model>]`` of the recipe.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recmind.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
ModelName = Literal["recmind", "lightgcn", "text", "popularity"]


class Settings(BaseModel):
    """Base of all settings: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )


class PrepareConfig(Settings):
    """What `recmind prepare` keeps of the raw rows. Apart from `Config`: it makes datasets, not runs."""

    min_rating: float | None = None
    """Interactions rated lower, and those without a rating, are left out. Unset: all are kept."""
    min_user_interactions: Positive = 1
    """Users with fewer interactions are left out, together with `min_item_interactions` until both
    hold (k-core). 1 keeps every user."""
    min_item_interactions: Positive = 1
    """Items with fewer interactions lose them, as above. 1 keeps every item."""
    keep: Literal["first", "last"] = "first"
    """Which interaction of a repeated (user, item) pair stays, in time."""
    keep_items_without_interaction: bool = True
    """Items of the item table without an interaction stay: they can be recommended by their text."""
    strict: bool = False
    """Stop at the first damaged, incomplete or repeated row instead of counting and skipping it."""
    max_rows: Positive | None = None
    """Read at most this many interactions, for a trial. Unset: all."""


class SplitConfig(Settings):
    """How interactions are divided into training, validation and test."""

    kind: Literal["leave-one-out", "temporal", "ratio", "cold-items", "valid-only"] = "leave-one-out"
    """`leave-one-out`: each user's last interaction is tested, the last but one validates.
    `temporal`: one cut in time for everybody. `ratio`: a random share of each user.
    `cold-items`: the tested items have no training edge. `valid-only`: everything but each
    user's last interaction is trained on, nothing is tested: for use, not for papers."""
    valid_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share held out for validation (`temporal`, `ratio`, `cold-items`)."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share held out for the test (`temporal`, `ratio`, `cold-items`)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the random splits, kept apart from the seed of training."""


class TextConfig(Settings):
    """What is written about an item or a user before the language model reads it."""

    template: str = "generic"
    """Prompt template: `generic`, `products`, `places`, `movies`, or the path of a TOML file."""
    max_tokens: Annotated[int, Field(ge=8)] = 128
    """Token budget of one text; longer texts are cut at the end."""
    field_tokens: dict[str, Positive] = {
        "title": 48,
        "brand": 12,
        "categories": 32,
        "attributes": 32,
        "description": 64,
    }
    """Token budget of each item field; a field without an entry is left out."""
    user_view: Literal["reviews", "titles", "items"] = "items"
    """What stands for a user. `reviews`: a text of the user's most recent training reviews (where a
    user has none: titles). `titles`: a text of the titles of the user's most recent training items.
    `items`: no text, the mean of the embeddings of the user's training items."""
    max_snippets: Positive = 10
    """M_u: how many of a user's most recent reviews or titles make up the user's text."""
    snippet_tokens: Positive = 32
    """Token budget of one review or title in a user's text."""
    profile_tokens: Positive = 32
    """Token budget of what `users.parquet` says about a user in the column `profile`."""
    item_instruction: str = ""
    """Prefix of every item text, for instruction-tuned encoders."""
    user_instruction: str = ""
    """Prefix of every user text, for instruction-tuned encoders."""


class LanguageConfig(Settings):
    """The frozen language model that turns texts into vectors."""

    encoder: str = "builtin"
    """`builtin` (all-MiniLM-L6-v2, installed with the extra `encoder`), the path of a local
    Hugging Face model, or a hub name."""
    revision: str | None = None
    """Commit or tag of a hub model; recorded with the run."""
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    """How token vectors become one text vector. `auto`: what the model's sentence-transformers
    configuration says, else `last` for decoders and `mean` for encoders."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder. `auto`: bfloat16 where the processor multiplies it natively."""
    batch_tokens: Annotated[int, Field(ge=64)] = 4096
    """Padded tokens per batch; texts are sorted by length, so batches waste little."""
    cache_dir: Path | None = None
    """Where embeddings are kept between runs, by content. Default: `$RECMIND_CACHE`, else
    `~/.cache/recmind`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:0`, `mps`."""


class GateConfig(Settings):
    """How much of the graph and of the language each node sends through each layer."""

    kind: Literal["node-layer", "none"] = "node-layer"
    """`node-layer`: a gate per node and layer (equation of the paper); `none`: the graph alone flows."""
    init_bias: float = 0.0
    """Start value of b. 0 gives both views the same share at the start."""


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
    """`recmind`, or a baseline: `lightgcn`, `text` (graph over text embeddings alone), `popularity`."""
    dim: Positive = 64
    """d, the size of every node's vector."""
    layers: Annotated[int, Field(ge=0, le=8)] = 2
    """L, how many times vectors are propagated."""
    init_std: Annotated[float, Field(gt=0.0)] = 0.1
    """Standard deviation of the free part of E^(0) at the start."""
    initial: Literal["free", "free+text"] = "free"
    """E^(0): `free` parameters alone (the paper), or a free part plus the language view."""
    alpha: Fraction = 0.5
    """α in h = α z^G + (1-α) z^L."""
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
    fallback_mask: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of known texts hidden in each step to train the fallback MLP for nodes without text."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the products in the projection. `auto`: bfloat16 where the hardware has
    matrix units for it (AMX, CUDA), else float32. Sums and parameters are always float32."""
    gate: GateConfig = GateConfig()
    """The gate."""


class TrainingConfig(Settings):
    """Loss, negatives, schedule and optimiser."""

    loss: Literal["bpr", "softmax"] = "bpr"
    """`bpr` (the paper) or `softmax`: sampled softmax over the positive and the negatives."""
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """Divisor of the scores in the recommendation loss."""
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
    checkpoint_seconds: Annotated[float, Field(ge=0.0)] = 60.0
    """Write a checkpoint at the end of an epoch when the last one is older than this."""


class EvaluationConfig(Settings):
    """Full-ranking evaluation."""

    cutoffs: Annotated[tuple[Positive, ...], Field(min_length=1)] = (10, 20, 40)
    """The K of every metric@K."""
    block_users: Positive = 1024
    """Users ranked at once; memory is block_users x n_items x 4 bytes."""
    bootstrap: Annotated[int, Field(ge=0)] = 1000
    """Bootstrap resamples of the users for the 95% intervals; 0 leaves the intervals out."""


class Config(Settings):
    """Everything that determines a run."""

    recipe: str = "default"
    """Name of the recipe that these settings came from."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of initialisation, sampling and order."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:0`."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of training; 0 takes one for a small graph, where more do not pay, and else what the
    machine has. The same number gives the same bits."""
    split: SplitConfig = SplitConfig()
    text: TextConfig = TextConfig()
    language: LanguageConfig = LanguageConfig()
    model: ModelConfig = ModelConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _known_metric(self) -> Config:
        name, _, cutoff = self.training.metric.partition("@")
        if name not in ("recall", "ndcg", "hit_rate", "mrr", "map") or not cutoff.isdecimal() or int(cutoff) < 1:
            raise ValueError(
                f"training.metric: got {self.training.metric!r}, accepted: recall@K, ndcg@K, hit_rate@K, mrr@K, map@K"
            )
        return self


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("recmind") / "recipes"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_config(
    recipe: str | Path = "default",
    *,
    model: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
) -> Config:
    """Settings from a recipe, the model's own table in it, and overrides, in this order.

    Parameters
    ----------
    recipe:
        Name of a shipped recipe or path of a TOML file.
    model:
        Model to train; the recipe's ``[overrides.<model>]`` applies.
    overrides:
        ``"model.layers=3"`` strings (the value is read as TOML, else as text),
        or a mapping with the same dotted keys.

    Raises
    ------
    ConfigError
        With every unknown key and wrong value at once.
    """
    tree, name = _read_recipe(recipe)
    _check_tables(tree, where=f"recipe {name!r}")
    per_model = tree.pop("overrides", {})
    changes = _parse_overrides(overrides)
    chosen = model or changes.get("model.name") or tree.get("model", {}).get("name", "recmind")
    _merge(tree, per_model.get(chosen, {}) if isinstance(chosen, str) else {})
    tree.setdefault("model", {})["name"] = chosen
    tree.setdefault("recipe", name)
    for key, value in changes.items():
        _set(tree, key, value)
    return validate_config(tree, where=f"recipe {name!r}" + (" with overrides" if changes else ""))


def validate_config(tree: Mapping[str, Any], *, where: str | Path) -> Config:
    """``tree`` as a :class:`Config`; every problem is reported in one :class:`ConfigError`."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error), where=where, hint="see docs/settings.md") from error


def recipe_text(recipe: str | Path) -> str:
    """The TOML text of a shipped recipe or of a recipe file, as written.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    """
    path = Path(recipe)
    if path.suffix == ".toml":
        if not path.is_file():
            raise ConfigError("there is no such recipe file", where=path, accepted=recipe_names())
        try:
            return path.read_text(encoding="utf-8")
        except ValueError as error:
            raise ConfigError(f"the recipe is not UTF-8 text: {error}", where=path) from error
    if str(recipe) not in recipe_names():
        raise ConfigError(
            "there is no such recipe",
            where="--recipe",
            got=str(recipe),
            accepted=[*recipe_names(), "the path of a .toml file"],
        )
    return (resources.files("recmind") / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8")


def _read_recipe(recipe: str | Path) -> tuple[dict[str, Any], str]:
    try:
        return tomllib.loads(recipe_text(recipe)), Path(recipe).stem if str(recipe).endswith(".toml") else str(recipe)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the recipe is not valid TOML: {error}", where=recipe) from error


def _check_tables(tree: Mapping[str, Any], *, where: str) -> None:
    """Refuse a recipe whose sections or tables of overrides cannot be merged."""
    per_model = tree.get("overrides", {})
    tables = {key: tree[key] for key in [*_sections(), "overrides"] if key in tree}
    if isinstance(per_model, Mapping):
        tables |= {f"overrides.{key}": value for key, value in per_model.items()}
        models = get_args(ModelName)
        for key in per_model:
            if key not in models:
                raise ConfigError("there is no such model", where=f"{where}, [overrides.{key}]", accepted=models)
    for key, value in tables.items():
        if not isinstance(value, Mapping):
            raise ConfigError("must be a table", where=f"{where}, {key}", got=value, accepted=f"[{key}]")


def _parse_overrides(overrides: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(overrides, Mapping):
        return dict(overrides)
    parsed: dict[str, Any] = {}
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError("an override must read key=value", where="--set", got=text, hint="--set model.layers=3")
        parsed[key.strip()] = _parse_value(value.strip())
    return parsed


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(tree: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError("the key goes below a plain value", where="--set", got=dotted)
    tree[last] = value


def _explain(error: ValidationError) -> str:
    problems = []
    for entry in error.errors():
        key = ".".join(str(part) for part in entry["loc"])
        if entry["type"] == "extra_forbidden":
            problems.append(f"{key}: unknown setting{_suggest(key)}")
        elif not key:
            problems.append(str(entry["msg"]).removeprefix("Value error, "))
        else:
            problems.append(f"{key}: got {entry['input']!r}, {entry['msg'][0].lower()}{entry['msg'][1:]}")
    plural = "s" if len(problems) > 1 else ""
    return f"{len(problems)} wrong setting{plural}\n  - " + "\n  - ".join(problems)


def _suggest(key: str) -> str:
    import difflib

    close = difflib.get_close_matches(key, [*setting_names(), *_sections()], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _sections() -> list[str]:
    """Names of the groups of settings, the outer ones only."""
    return sorted({key.partition(".")[0] for key in setting_names() if "." in key})


def setting_names() -> list[str]:
    """Every setting as a dotted key."""
    return [key for key, _ in walk_settings()]


def walk_settings(cls: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, Any]]:
    """Every setting as (dotted key, pydantic ``FieldInfo``), depth first."""
    found: list[tuple[str, Any]] = []
    for name, info in cls.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found += walk_settings(info.annotation, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", info))
    return found

"""The only place where a column, file or tensor key is spelled.

Every room reads names from here, so that renaming a column is one edit and a
misspelt one is an ``AttributeError`` instead of a silent empty result.
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1
"""Version written into ``dataset.json`` and run folders; raised when a contract changes."""


class Columns:
    """Column names of ``interactions.parquet``, ``items.parquet`` and ``users.parquet``."""

    USER: Final = "user_id"
    ITEM: Final = "item_id"
    TIMESTAMP: Final = "timestamp"
    """Seconds since 1970 (int64)."""
    ORDER: Final = "order"
    """Position in the user's own sequence, where there is no clock."""
    RATING: Final = "rating"
    REVIEW: Final = "review_text"

    TITLE: Final = "title"
    BRAND: Final = "brand"
    CATEGORIES: Final = "categories"
    ATTRIBUTES: Final = "attributes"
    DESCRIPTION: Final = "description"
    PRICE: Final = "price"

    PROFILE: Final = "profile"
    """Free text about a user in ``users.parquet``."""

    USER_CODE: Final = "user"
    """Dense int32 user code inside the library."""
    ITEM_CODE: Final = "item"
    """Dense int32 item code inside the library."""

    PART: Final = "part"
    """train, valid or test, in a run's ``split.parquet``."""

    REVIEWS: Final = "reviews"
    """A list of a user's reviews, oldest first, in a table of changed users."""

    RANK: Final = "rank"
    SCORE: Final = "score"
    DEGREE: Final = "degree"
    """Training interactions of an item, in what a server says about it."""


ITEM_TEXT_FIELDS: Final = (
    Columns.TITLE,
    Columns.BRAND,
    Columns.CATEGORIES,
    Columns.ATTRIBUTES,
    Columns.DESCRIPTION,
)
"""Item fields that make up an item's text, in the order in which they are written."""

INTERACTION_EXTRAS: Final = (Columns.TIMESTAMP, Columns.ORDER, Columns.RATING, Columns.REVIEW)
"""Optional columns of an interaction that are kept when present."""


class Files:
    """File names inside dataset and run folders."""

    INTERACTIONS: Final = "interactions.parquet"
    ITEMS: Final = "items.parquet"
    USERS: Final = "users.parquet"
    DATASET: Final = "dataset.json"

    CONFIG: Final = "config.toml"
    ENVIRONMENT: Final = "environment.json"
    METRICS: Final = "metrics.json"
    HISTORY: Final = "history.jsonl"
    STATE: Final = "state.json"
    CHECKPOINT: Final = "checkpoint.safetensors"
    TRIED: Final = "tried.json"
    """The candidates tried so far; gone when the run is finished, whose metrics tell of them."""
    BEST_TRIED: Final = "tried.float64"
    """The validation metric of each user by the best of them; gone likewise."""
    MODEL: Final = "model.safetensors"
    SPLIT: Final = "split.parquet"
    """Every interaction as dense codes with its part, kept with the run so that it stands alone."""
    PER_USER: Final = "per_user_{split}.parquet"
    """Metrics per user, for paired tests between runs."""
    MANIFEST: Final = "manifest.json"
    REFRESH: Final = "refresh.json"
    """What was refreshed since training, the latest last."""
    MOVED: Final = "moved.parquet"
    """Which rows the latest refresh moved, and how far."""
    ADAPTERS: Final = "adapters"
    """Folder of the language model's trained adapters, in peft's format; the users' below it where they differ."""
    USERS_ADAPTERS: Final = "users"
    TABLES: Final = "language"
    """Folder of the vectors that adapters in training have made; gone when the run is finished."""


class Tensors:
    """Keys of ``model.safetensors``."""

    USERS: Final = "representations.users"
    """Final h of the users, (n_users, d)."""
    ITEMS: Final = "representations.items"
    """Final h of the items, (n_items, d)."""
    WEIGHTS: Final = "weights"
    """What item j says for item i, (n_items, n_items), in place of vectors."""
    WEIGHT_OFFSETS: Final = "weights.offsets"
    """The same in compressed rows: where each row begins, int64 (n_items + 1,)."""
    WEIGHT_ITEMS: Final = "weights.items"
    """Columns, int32."""
    WEIGHT_VALUES: Final = "weights.values"
    """Values, float32."""
    PARAMETERS: Final = "parameters."
    """Prefix of the model's parameters."""
    CAUGHT_UP: Final = "caught_up."
    """Prefix of the same after some epochs with the interactions that were held out, for lists in use."""
    TEXTS: Final = "texts."
    """Prefix of what the language model said: items, items_known, users, users_known; near, shares of links by it."""
    ADDED: Final = "added."
    """Prefix of the same for items that came after training and stand behind the trained ones: items, items_known."""


class BundleFiles:
    """File names inside a bundle for serving; those it shares with runs are in :class:`Files`."""

    MANIFEST: Final = "manifest.json"
    """Version, id, and size and sha256 of every other file."""
    CARD: Final = "model.json"
    README: Final = "README.md"
    CONFIG: Final = "config.json"
    USERS: Final = "users.parquet"
    ITEMS: Final = "items.parquet"
    VECTORS: Final = "vectors.safetensors"
    HISTORY: Final = "history.safetensors"
    TRANSITIONS: Final = "transitions.safetensors"
    """What came next, of models that count it."""
    PARAMETERS: Final = "parameters.safetensors"
    INDEX: Final = "index.safetensors"
    TEMPLATE: Final = "template.toml"
    """The prompt template, where it is a file of the person's own."""
    ADAPTERS: Final = "adapters"


class BundleTensors:
    """Keys of a bundle's safetensors files."""

    USERS: Final = "users.vectors"
    """What meets the items' rows but for the popularity term, float32 (n_users, d), or (n_users, 2d) where the encoder
    has item vectors of its own: :attr:`~recmind.serving.tastes.Equations.width`."""
    USERS_FREE: Final = "users.free"
    """The free part of E^(0), float32 (n_users, d)."""
    USERS_LANGUAGE: Final = "users.language"
    """z^L where users have texts of their own, float32 (n_users, d)."""
    USERS_KNOWN: Final = "users.known"
    USERS_GATES: Final = "users.gates"
    """γ, float32 (n_users, layers)."""
    ITEMS: Final = "items.vectors"
    """h, what stands beside it, and as the last column d̃: float32 (n_items, width + 1)."""
    ITEMS_LANGUAGE: Final = "items.language"
    """z^L, float32 (n_items, d)."""
    ITEMS_SCALE: Final = "items.language_scale"
    """What z^L is multiplied with in h, float32 (n_items,)."""
    ITEMS_KNOWN: Final = "items.known"
    """Whether an item has a text, bool (n_items,)."""
    ITEMS_MESSAGES: Final = "items.messages"
    """Σ_l Ê^(l) / √degree: what an item sends to a user over all layers, float32 (n_items, d)."""
    ITEMS_TEXTS: Final = "items.texts"
    """z̃, zero without a text, float32 (n_items, d_lm): 4 d_lm bytes an item; of models that read texts."""
    ITEMS_GATES: Final = "items.gates"
    ITEMS_DEGREES: Final = "items.degrees"
    """Training interactions, int32 (n_items,)."""
    OFFSETS: Final = "offsets"
    """Where each user's items begin, int64 (n_users + 1,)."""
    CODES: Final = "items"
    """Items that users are known to have, each user's oldest first, int32."""
    TRAINED: Final = "trained"
    """How many of a user's items, the first ones, were trained on, int32 (n_users,)."""
    SHARES: Final = "shares"
    """T_ji, float32, in compressed rows with :attr:`OFFSETS` int64 (n_items + 1,) and :attr:`CODES` int32."""
    INDEX: Final = "faiss"
    """A serialised faiss index, uint8."""

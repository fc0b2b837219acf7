"""Settings of the texts and of the language model that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from recmind.config.adapters import AdapterConfig, Minutes
from recmind.config.base import Positive, Settings
from recmind.config.profiles import ProfilesConfig


class TextConfig(Settings):
    """What is written about an item or a user before the language model reads it."""

    template: str = "generic"
    """Prompt template: `generic`, `products`, `places`, `movies`, or the path of a TOML file."""
    max_tokens: Annotated[int, Field(ge=8)] = 128
    """Token budget of one text; longer texts are cut at the end."""
    field_tokens: dict[str, Positive] = Field(
        default={"title": 48, "brand": 12, "categories": 32, "attributes": 32, "description": 64}
    )
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
    """Put before every item text, for instruction-tuned models, with the blank or line break that the model
    expects at its end: `--set 'text.item_instruction="Instruct: Represent the product\\nQuery: "'`. Prompts
    that a model declares can be chosen by name: `language.item_prompt`."""
    user_instruction: str = ""
    """The same for user texts."""
    profiles: ProfilesConfig = ProfilesConfig()

    @model_validator(mode="after")
    def _chat_has_a_view(self) -> TextConfig:
        if self.profiles.writer == "chat" and self.user_view == "items":
            raise ValueError(
                'text.user_view: got "items", which needs no text; '
                'text.profiles.writer = "chat" needs "reviews" or "titles"'
            )
        return self


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
    item_prompt: str = "auto"
    """Name of a prompt that the model declares (`config_sentence_transformers.json`), put before every item
    text. `auto`: `text.item_instruction`, or without one the model's default prompt, where it has one;
    `none`: no declared prompt."""
    user_prompt: str = "auto"
    """The same for user texts."""
    long_text: Literal["cut", "chunks"] = "cut"
    """A text longer than the model's window is `cut` at its end, or read in `chunks`: overlapping windows
    whose pooled vectors are averaged, weighted by their tokens. `text.max_tokens` cuts before."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder. `auto`: bfloat16 where the processor multiplies it natively."""
    batch_tokens: Annotated[int, Field(ge=64)] = 4096
    """Padded tokens per batch; texts are sorted by length, so batches waste little."""
    padding: Literal["right", "left"] = "right"
    """Where texts of a batch are filled up, for models that are not packed without padding. Vectors are equal
    up to rounding; `left` is for implementations that ask for it."""
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """How attention is computed. `auto`: texts end to end without padding where model and processor allow it,
    else the library's choice. `flash_attention_2` needs a GPU and the package flash-attn."""
    device_map: Literal["none", "auto", "balanced", "balanced_low_0", "sequential"] = "none"
    """How the package accelerate spreads a model that is too large for one device over all of them and main
    memory. `none`: the whole model is on `language.device`."""
    cache_dir: Path | None = None
    """Where embeddings are kept between runs, by content. Default: `$RECMIND_CACHE`, else
    `~/.cache/recmind`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:0`, `mps`."""
    max_minutes: Minutes | None = None
    """Time for all training of the adapters of a run, the refreshes of the vectors included; steps for which it is
    too short are left out. What it comes to is estimated and printed before it starts. Left out: no limit."""
    adapters: AdapterConfig = AdapterConfig()

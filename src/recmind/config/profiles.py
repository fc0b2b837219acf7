"""Settings of who writes the users' texts."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from recmind.config.base import Fraction, Positive, Settings

Amount = Annotated[float, Field(ge=0.0)]

HOW_ASKED = (
    "base_url",
    "api_key_env",
    "max_tokens_name",
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "timeout",
    "retries",
    "answer_retries",
    "backoff",
    "max_wait",
    "max_failed",
    "price_per_million_input",
    "price_per_million_output",
)
"""Settings that say how the endpoint is asked, not what: the texts do not depend on them."""


class ProfilesConfig(Settings):
    """Who writes the users' texts: a template, or a chat model behind an OpenAI-compatible endpoint."""

    writer: Literal["template", "chat"] = "template"
    """`template`: snippets put together, at once and for nothing. `chat`: a chat model reads a user's
    training interactions and writes a profile; needs `text.user_view` `reviews` or `titles`. Try
    `recmind profiles DATASET --dry-run` first."""
    base_url: str = "http://localhost:8000/v1"
    """Address of the endpoint up to and without `/chat/completions`: of a provider, or of vLLM, llama.cpp,
    Ollama or another server of your own."""
    model: str = ""
    """Name of the chat model, as the endpoint calls it."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64)] | None = None
    """Name of the environment variable that holds the API key; left out, no key is sent. The key itself is
    never written anywhere."""
    prompt: str = "shopper"
    """Prompt file: `shopper`, or the path of a TOML file (copy the shipped one, which explains itself)."""
    max_snippets: Positive = 20
    """At most how many of a user's most recent training interactions are in the prompt."""
    snippet_tokens: Positive = 64
    """Token budget of one review in the prompt; other fields keep to `text.field_tokens`."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Sampling temperature; 0 is the most repeatable."""
    max_tokens: Positive = 256
    """Tokens that an answer may have; one that is cut off there is not used."""
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the endpoint calls that limit; some newer models refuse the older name."""
    json_mode: bool = False
    """Ask the endpoint itself for JSON (`response_format`), where it can do that."""
    max_words: Positive = 150
    """A profile of more words is not used. How much of it the encoder reads says `text.max_tokens`."""
    concurrency: Positive = 8
    """Requests under way at once."""
    requests_per_minute: Amount = 0.0
    """Requests that the endpoint allows a minute; 0: no limit is known."""
    tokens_per_minute: Amount = 0.0
    """Tokens, prompt and answer together, that the endpoint allows a minute; 0: no limit is known."""
    timeout: Annotated[float, Field(gt=0.0)] = 60.0
    """Seconds for a whole answer."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a request is repeated after a time-out, a lost connection, or the statuses 408, 409, 425,
    429 and 5xx."""
    answer_retries: Annotated[int, Field(ge=0)] = 2
    """How often a user is asked about again when the answer cannot be used."""
    backoff: Amount = 1.0
    """Seconds before the first repetition, doubled each time up to a minute, less a random part of up to
    half. What the endpoint says in `Retry-After` comes first."""
    max_wait: Amount = 600.0
    """A `Retry-After` of more seconds stops the command; answers so far are kept."""
    max_failed: Fraction = 0.05
    """Share of the users that may be left with the template's text; more is an error."""
    price_per_million_input: Amount = 0.0
    """Price of a million tokens of prompt, in your currency, for the estimate of the cost."""
    price_per_million_output: Amount = 0.0
    """Price of a million tokens of answers."""

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        parts = urlsplit(value)
        _ = parts.port  # raises for a port that there is not
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address starts with http:// or https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("an address has no user, password or query; a key goes into an environment variable")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _knows_its_model(self) -> ProfilesConfig:
        if self.writer == "chat" and not self.model.strip():
            raise ValueError('text.profiles.model: missing; writer = "chat" needs the name of the chat model')
        return self

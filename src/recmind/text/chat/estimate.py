"""What asking would cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recmind.config import ProfilesConfig
from recmind.text.chat.cache import FILE, AnswerCache
from recmind.text.chat.prompts import Prompts
from recmind.text.chat.writer import prompt_keys

TokenCounter = Callable[[Sequence[str]], list[int]]
"""``count(texts)``: tokens of each text."""

MESSAGE_TOKENS = 4
"""What chat formats add around each message, about."""

ASSUMED_SECONDS = 5.0
"""An answer's time where none has been measured."""


@dataclass(frozen=True)
class Estimate:
    """What ``recmind profiles`` would do.

    Attributes
    ----------
    users, prompts, answered, to_ask:
        Users to write about, different prompts among them, how many of those are answered (or noted as
        failures) already, and how many would be sent.
    tokens_in, tokens_out:
        Tokens to pay for. The prompts are counted by the encoder's tokenizer, not the chat model's. The
        answers are counted as the median of earlier ones of this model (``measured``), else as
        ``max_tokens`` each, which is the most that there can be.
    cost:
        By the prices in the settings; ``None`` where they give none.
    seconds:
        The longest of the limits of requests and tokens and of the answers' own time, ``answer_seconds``
        each, of which ``concurrency`` are under way at once.
    example:
        The messages of the first prompt, or ``None`` where there is none.
    """

    users: int
    prompts: int
    answered: int
    to_ask: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    seconds: float
    answer_seconds: float
    measured: bool
    example: list[dict[str, str]] | None


def estimate(
    prompts: Prompts, config: ProfilesConfig, folder: Path, count: TokenCounter, *, ask_again: bool = False
) -> Estimate:
    """What writing ``prompts`` would take; nothing is sent and nothing written."""
    keys = prompt_keys(prompts, config)
    positions = {key: position for position, key in reversed(list(enumerate(keys)))}
    known, typical = {}, None
    if (folder / FILE).is_file():
        with AnswerCache(folder) as cache:
            known, typical = cache.read(positions), cache.typical(config.model)
    done = {key for key, answer in known.items() if answer.text is not None or not ask_again}
    missing = [position for key, position in positions.items() if key not in done]
    n = len(missing)
    n_messages = 2 if prompts.file.system else 1
    around = MESSAGE_TOKENS * n_messages + sum(count([prompts.file.system]))
    tokens_in = sum(count([prompts.texts[position] for position in missing])) + n * around if missing else 0
    measured = typical is not None and typical.seconds is not None
    each = typical.tokens_out if typical is not None and typical.tokens_out else config.max_tokens
    answer_seconds = typical.seconds if typical is not None and typical.seconds else ASSUMED_SECONDS
    return Estimate(
        users=len(prompts),
        prompts=len(positions),
        answered=len(done),
        to_ask=n,
        tokens_in=tokens_in,
        tokens_out=n * each,
        cost=cost_of(tokens_in, n * each, config),
        seconds=_seconds(n, tokens_in + n * each, answer_seconds, config),
        answer_seconds=answer_seconds,
        measured=measured,
        example=prompts.messages(min(positions.values())) if positions else None,
    )


def cost_of(tokens_in: int, tokens_out: int, config: ProfilesConfig) -> float | None:
    """The price of tokens by the settings; ``None`` where they give no price."""
    if not config.price_per_million_input and not config.price_per_million_output:
        return None
    return (tokens_in * config.price_per_million_input + tokens_out * config.price_per_million_output) / 1e6


def _seconds(n: int, tokens: int, answer_seconds: float, config: ProfilesConfig) -> float:
    waits = [n * answer_seconds / min(config.concurrency, n)] if n else [0.0]
    if config.requests_per_minute:
        waits.append(60.0 * n / config.requests_per_minute)
    if config.tokens_per_minute:
        waits.append(60.0 * tokens / config.tokens_per_minute)
    return max(waits)

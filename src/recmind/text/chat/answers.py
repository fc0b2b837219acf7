"""What a chat model answered, as a profile, or why it cannot be used."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from recmind.text.clean import plain_text

_THOUGHT = re.compile(r"^\s*<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^\s*```[\w-]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_REFUSAL = re.compile(
    r"^\W*(i['’]?m sorry|i am sorry|sorry,|apologies|i apologi[sz]e|i can(['’]?t|not)\b|i am (not able|unable)|"
    r"i['’]?m (not able|unable)|i won['’]?t\b|as an ai\b|as a language model|unfortunately,? i\b)",
    re.IGNORECASE,
)


class Unusable(Exception):  # noqa: N818 - what is unusable is the answer, not the program
    """An answer that cannot be used; the message says why, without quoting it."""


def profile_of(content: str, finish: str | None, keys: Sequence[str], max_words: int) -> str:
    """The profile in an answer, as clean one-line text.

    What a reasoning model wrote as its thoughts and a code fence around the answer are left out.

    Parameters
    ----------
    content:
        What the model said.
    finish:
        Why it stopped: ``stop``, ``length``, ``content_filter`` ...
    keys:
        Keys of the JSON object that the answer must be; none for plain text.
    max_words:
        Most words that a profile may have.

    Raises
    ------
    Unusable
        If the answer is empty, cut off, filtered, a refusal, too long or not the JSON that was asked for.
    """
    if finish == "content_filter":
        raise Unusable("stopped by the endpoint's content filter")
    if finish == "length":
        raise Unusable("cut off at text.profiles.max_tokens")
    body = _THOUGHT.sub("", content).strip()
    fenced = _FENCE.match(body)
    body = fenced[1].strip() if fenced else body
    if not body:
        raise Unusable("empty")
    if _REFUSAL.match(body):
        raise Unusable("a refusal")
    said = _joined(body, keys) if keys else body
    # Half a surrogate pair, which JSON can hold and UTF-8 cannot.
    text = plain_text(pl.Series("profile", [said.encode("utf-8", "replace").decode("utf-8")]))[0]
    if text is None:
        raise Unusable("empty")
    if _REFUSAL.match(text):
        raise Unusable("a refusal")
    if len(text.split()) > max_words:
        raise Unusable(f"longer than {max_words} words")
    return text


def _joined(body: str, keys: Sequence[str]) -> str:
    """The values of ``keys`` in a JSON object, one after the other."""
    try:
        tree = json.loads(body, strict=False)
    except (ValueError, RecursionError) as error:
        raise Unusable("not JSON") from error
    if not isinstance(tree, dict) or any(key not in tree for key in keys):
        raise Unusable(f"not a JSON object with {', '.join(keys)}")
    texts = [_as_text(tree[key]) for key in keys]
    if any(text is None for text in texts):
        raise Unusable("JSON whose values are not texts")
    return ". ".join(text.strip().rstrip(".") for text in texts if text and text.strip())


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(part for part in value if part.strip())
    return None

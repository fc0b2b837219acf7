"""Token ids of texts as the model reads them: cut to its window, or in overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from recmind.errors import EncoderError

OVERLAP = 8
"""Two neighbouring windows share one in this many tokens, so that what is cut apart in one is whole in the other."""

_TOKENISED_AT_ONCE = 8192


class Piece(NamedTuple):
    """What the model reads at once.

    ``ids`` are the token ids ``(tokens,)``; the first ``skip`` of them (a
    prompt, where the model leaves it out of the mean) are read and not pooled;
    ``weight`` is the number of the text's own tokens.
    """

    ids: np.ndarray
    skip: int = 0
    weight: int = 1


class Reader:
    """Texts to token ids.

    Parameters
    ----------
    tokenizer:
        A Hugging Face tokenizer; the special tokens that it adds stay.
    window:
        Tokens that the model reads at most, special tokens included.
    pad_id:
        Stands for a text without any token.
    prompts:
        Beginnings of texts that are read and not pooled.
    lower_case:
        Whether texts are read in lower case.
    """

    def __init__(
        self, tokenizer: Any, window: int, pad_id: int, prompts: Sequence[str] = (), lower_case: bool = False
    ) -> None:
        self._tokenizer, self._window, self._pad_id = tokenizer, window, pad_id
        self._lower_case = lower_case
        self._before, self._after = _special_tokens(tokenizer)
        self.n_special = len(tokenizer("")["input_ids"])
        # The longest first: one prompt may begin with another.
        found = {prompt: self._count(prompt) for prompt in prompts if prompt}
        self._prompts = sorted(found.items(), key=lambda entry: -len(entry[0]))

    def cut(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 ``(tokens,)``, cut to the window.

        Raises
        ------
        EncoderError
            If the tokenizer finds nothing in any text.
        """
        ids = self._ids(texts, truncation=True, max_length=self._window)
        if any(text.strip() for text in texts) and not any(len(row) for row in ids):
            raise EncoderError(
                "the tokenizer finds no token in any text",
                where=getattr(self._tokenizer, "name_or_path", None),
                got=texts[0],
                hint="its files may belong to another tokenizer class than the one that the model asks for",
            )
        # Some tokenizers give nothing at all for a blank text; a model needs one token.
        return [row if len(row) else np.array([self._pad_id], dtype=np.int32) for row in ids]

    def pieces(self, texts: Sequence[str], *, chunks: bool) -> list[list[Piece]]:
        """What is read of each text: one piece, or with ``chunks`` as many windows as it takes."""
        skips = self.skips(texts)
        cut = [[Piece(ids, skip)] for ids, skip in zip(self.cut(texts), skips, strict=True)]
        if chunks:
            # Only what fills its window can be longer than it.
            full = [row for row, (piece,) in enumerate(cut) if len(piece.ids) >= self._window]
            whole = self._ids([texts[row] for row in full], verbose=False)
            for row, ids in zip(full, whole, strict=True):
                cut[row] = self._windows(texts[row], ids, skips[row])
        return cut

    def skips(self, texts: Sequence[str]) -> list[int]:
        """How many of each text's first tokens are a prompt that is not pooled."""
        if not self._prompts:
            return [0] * len(texts)
        return [next((n for prompt, n in self._prompts if text.startswith(prompt)), 0) for text in texts]

    def _windows(self, text: str, ids: np.ndarray, skip: int) -> list[Piece]:
        """A long text as overlapping windows, each with the special tokens, and with the prompt, where it has one."""
        head = ids[: max(self._before, skip)]
        tail = ids[len(ids) - self._after :]
        body = ids[len(head) : len(ids) - self._after]
        size = self._window - len(head) - len(tail)
        if size < OVERLAP:
            raise EncoderError(
                "the prompt leaves no room for the text in the model's window", where="language.long_text", got=text
            )
        step = size - size // OVERLAP
        starts = range(0, max(len(body) - size // OVERLAP, 1), step)
        parts = [body[start : start + size] for start in starts]
        return [Piece(np.concatenate([head, part, tail]), skip, len(part)) for part in parts]

    def _ids(self, texts: Sequence[str], **options: Any) -> list[np.ndarray]:
        ids: list[np.ndarray] = []
        for start in range(0, len(texts), _TOKENISED_AT_ONCE):
            chunk = list(texts[start : start + _TOKENISED_AT_ONCE])
            found = self._tokenizer(
                [text.lower() for text in chunk] if self._lower_case else chunk,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                **options,
            )["input_ids"]
            ids += [np.array(row, dtype=np.int32) for row in found]  # a list would be ten times as large
        return ids

    def _count(self, prompt: str) -> int:
        """Tokens of a prompt and of what the tokenizer puts before it."""
        # Without the blanks at its end: most tokenizers make them part of the word that follows.
        return len(self._ids([prompt.rstrip()])[0]) - self._after


def _special_tokens(tokenizer: Any) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before a text and after it."""
    empty, one = tokenizer("")["input_ids"], tokenizer("a", return_special_tokens_mask=True)
    mask = one["special_tokens_mask"]
    before = min(next((k for k, special in enumerate(mask) if not special), len(mask)), len(empty))
    return before, len(empty) - before


def budgeted(order: list[int], read: list[list[Piece]], budget: int) -> Iterator[list[int]]:
    """Rows in order, as many together as stay within the budget of padded tokens; at least one."""
    batch: list[int] = []
    n_pieces = longest = 0
    for row in order:
        n, length = len(read[row]), max(len(piece.ids) for piece in read[row])
        if batch and (n_pieces + n) * max(longest, length) > budget:
            yield batch
            batch, n_pieces, longest = [], 0, 0
        batch.append(row)
        n_pieces, longest = n_pieces + n, max(longest, length)
    if batch:
        yield batch

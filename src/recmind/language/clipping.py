"""Texts cut to a number of tokens, counted by the tokenizer itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# No vocabulary in use has tokens longer than this on average over a whole text, so a long text
# need not be tokenised to its end; where the guess is wrong, the whole text is.
_CHARACTERS_PER_TOKEN = 32
_CHUNK = 8192


class Clipper:
    """``clip(texts, n)``: each text cut at the end to at most ``n`` tokens.

    Special tokens are not counted. A cut text is a prefix of the original
    without trailing blanks, and tokenising it again never gives more than
    ``n`` tokens.

    Parameters
    ----------
    tokenizer:
        A Hugging Face tokenizer. The Rust ones cut in batches; others one by one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._fast = None
        if getattr(tokenizer, "is_fast", False):
            from tokenizers import Tokenizer

            # A copy: truncation and padding are state of the tokenizer.
            self._fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self._fast.no_truncation()
            self._fast.no_padding()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text, special tokens not counted."""
        if self._fast is not None:
            encodings = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
            return [len(encoding) for encoding in encodings]
        return [len(self._tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]

    def __call__(self, texts: Sequence[str], n_tokens: int) -> list[str]:
        """Each text cut to at most ``n_tokens`` tokens."""
        result: list[str] = []
        for start in range(0, len(texts), _CHUNK):
            result += self._clip_chunk(list(texts[start : start + _CHUNK]), n_tokens)
        return result

    def _clip_chunk(self, texts: list[str], n_tokens: int) -> list[str]:
        if self._fast is None:
            return [self._clip_slowly(text, n_tokens) for text in texts]
        window = n_tokens * _CHARACTERS_PER_TOKEN
        heads = [text[:window] for text in texts]
        result = self._cut_at_offsets(heads, n_tokens)
        whole = [row for row, text in enumerate(texts) if len(text) > window and result[row] == heads[row]]
        for row, text in zip(whole, self._cut_at_offsets([texts[row] for row in whole], n_tokens), strict=True):
            result[row] = text
        return self._shrunk(result, n_tokens)

    def _cut_at_offsets(self, texts: list[str], n_tokens: int) -> list[str]:
        encodings = self._fast.encode_batch(texts, add_special_tokens=False) if self._fast and texts else []
        return [
            text[: encoding.offsets[n_tokens - 1][1]].rstrip() if len(encoding) > n_tokens else text
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _shrunk(self, texts: list[str], n_tokens: int) -> list[str]:
        """Texts that read differently once cut (merges across the cut) are cut again."""
        budgets = {row: n_tokens for row, count in enumerate(self.count(texts)) if count > n_tokens}
        while budgets:
            budgets = {row: budget - 1 for row, budget in budgets.items()}
            for row, budget in budgets.items():
                texts[row] = self._cut_at_offsets([texts[row]], budget)[0] if budget else ""
            counts = self.count([texts[row] for row in budgets])
            over = [row for row, count in zip(budgets, counts, strict=True) if count > n_tokens]
            budgets = {row: budgets[row] for row in over if budgets[row]}
        return texts

    def _clip_slowly(self, text: str, n_tokens: int) -> str:
        """The longest prefix within the budget that bisection finds."""
        if self.count([text])[0] <= n_tokens:
            return text
        low, high = 0, len(text)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.count([text[:middle]])[0] <= n_tokens else (low, middle)
        return text[:low].rstrip()

"""Texts cut to a number of tokens, counted by the tokenizer itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Long texts need not be tokenised to their end: a head of this many characters per token of the
# budget nearly always fills it, and where it does not, the whole text is read.
_CHARACTERS_PER_TOKEN = 6
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
        # WordPiece takes the longest piece from the left, word by word, so what stands behind the
        # cut never changed the tokens before it. Merges of BPE can reach across the cut.
        self._stable = self._fast is not None and type(self._fast.model).__name__ == "WordPiece"

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
        result = self._cut([text[:window] for text in texts], n_tokens)
        whole = [row for row, text in enumerate(texts) if len(text) > window and len(result[row]) == window]
        for row, text in zip(whole, self._cut([texts[row] for row in whole], n_tokens), strict=True):
            result[row] = text
        if self._stable:
            return result
        cut = [row for row, text in enumerate(texts) if len(result[row]) < len(text)]
        for row, text in zip(cut, self._within([result[row] for row in cut], n_tokens), strict=True):
            result[row] = text
        return result

    def _cut(self, texts: list[str], n_tokens: int) -> list[str]:
        """Each text up to the last whole character of its first ``n_tokens`` tokens."""
        encodings = self._fast.encode_batch(texts, add_special_tokens=False) if self._fast and texts else []
        return [
            text[: _end(encoding.offsets, n_tokens)].rstrip() if len(encoding) > n_tokens else text
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _within(self, texts: list[str], n_tokens: int) -> list[str]:
        """Cut texts that read as more tokens than they were cut to (merges across the cut) are cut again."""
        budgets = dict.fromkeys((row for row, count in enumerate(self.count(texts)) if count > n_tokens), n_tokens)
        while budgets:
            budgets = {row: budget - 1 for row, budget in budgets.items()}
            for row, budget in budgets.items():
                texts[row] = self._cut([texts[row]], budget)[0] if budget else ""
            counts = self.count([texts[row] for row in budgets])
            budgets = {
                row: budget
                for (row, budget), count in zip(budgets.items(), counts, strict=True)
                if count > n_tokens and budget
            }
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


def _end(offsets: list[tuple[int, int]], n_tokens: int) -> int:
    """Where the first ``n_tokens`` tokens end; before a character that the next token shares."""
    return min(offsets[n_tokens - 1][1], offsets[n_tokens][0])

"""The bundle's language model: wishes, new items and single words as text vectors z̃."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from recmind.errors import BundleError, ConfigError, DataError
from recmind.schema import ITEM_TEXT_FIELDS, BundleFiles
from recmind.serving.bundle import Bundle

if TYPE_CHECKING:
    from recmind.config import TextConfig
    from recmind.language.encoder import TextEncoder

_KEPT = 20_000
"""Texts whose vectors are kept in memory: 30 MB at 384 numbers each."""
_WORD = re.compile(r"[^\W\d_][^\W_]{2,}")
_WORDS_READ = 48
"""Distinct words of an item that are looked at, from the front."""


class Speech:
    """Texts to vectors, as they were made for the run; the model is loaded when it is first needed.

    Vectors of recent texts are kept in memory and nowhere else: a wish may say
    much about a person.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._loaded: tuple[TextEncoder, TextConfig] | None = None
        self._lock = Lock()
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()

    @property
    def encoder(self) -> TextEncoder:
        """The language model.

        Raises
        ------
        ConfigError
            If the bundle's model makes no vectors of texts.
        EncoderError
            If the language model cannot be found, verified or loaded.
        BundleError
            If it is not the one that made the bundle.
        """
        with self._lock:
            return self._load()[0]

    def wish(self, text: str) -> np.ndarray:
        """z̃ of somebody's words ``(d_lm,)``, read as an item's title would be.

        Raises
        ------
        DataError
            If there is not a letter or digit in them.
        """
        import polars as pl

        from recmind.text.clean import plain_text
        from recmind.text.template import load_template

        clean = plain_text(pl.Series("description", [text], dtype=pl.String))[0]
        if clean is None:
            raise DataError("the text says nothing", where="text", got=text[:40])
        with self._lock:
            encoder, settings = self._load()
            template = load_template(settings.template)
            title = template.item_fields.get("title")
            inner = clean if title is None else f"{title.before}{clean}{title.after}"
            whole = f"{settings.item_instruction}{template.item.before}{inner}{template.item.after}"
            return self._vectors(encoder.clip([whole], settings.max_tokens))[0]

    def items(self, fields: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """z̃ ``(n, d_lm)`` of items given as fields, zero without a text, and where there is one ``(n,)``."""
        import polars as pl

        from recmind.text.profiles import item_texts

        with self._lock:
            encoder, settings = self._load()
            table = pl.from_dicts([dict(entry) for entry in fields], infer_schema_length=None)
            texts = item_texts(table, settings, encoder.clip)
            known = np.array([text is not None for text in texts], dtype=bool)
            found = np.zeros((len(texts), encoder.dim), dtype=np.float32)
            if known.any():
                found[known] = self._vectors([text for text in texts if text is not None])
            return found, known

    def words(self, fields: Mapping[str, Any]) -> tuple[list[str], np.ndarray]:
        """Distinct words of an item's fields, from the front, and z̃ of each word read alone ``(n, d_lm)``."""
        import polars as pl

        from recmind.text.clean import plain_text

        given = [fields[name] for name in ITEM_TEXT_FIELDS if fields.get(name)]
        texts = [plain_text(pl.Series("description", [value], strict=False))[0] for value in given]
        found: dict[str, str] = {}
        for word in _WORD.findall(" ".join(text for text in texts if text)):
            found.setdefault(word.casefold(), word)
        chosen = list(found.values())[:_WORDS_READ]
        with self._lock:
            encoder = self._load()[0]
            vectors = self._vectors(chosen) if chosen else np.empty((0, encoder.dim), dtype=np.float32)
        return chosen, vectors

    @property
    def fingerprint(self) -> str:
        """What identifies the vectors that are made; known without loading the model."""
        from recmind.serving.fresh_texts import MUST_AGREE

        recorded = self._bundle.encoder or {}
        return repr([(key, recorded.get(key)) for key in MUST_AGREE])

    def _load(self) -> tuple[TextEncoder, TextConfig]:
        if self._loaded is None:
            self._loaded = self._opened()
        return self._loaded

    def _opened(self) -> tuple[TextEncoder, TextConfig]:
        from recmind.language.features import encoder_manifest, load_encoder
        from recmind.serving.fresh_texts import MUST_AGREE

        bundle, recorded = self._bundle, self._bundle.encoder
        if recorded is None or not bundle.equations.reads:
            name = bundle.config.model.name
            raise ConfigError(
                f"a bundle of the model {name!r} makes no vectors of texts",
                where="text",
                hint="serve a run of recmind or text",
            )
        adapters = bundle.path / BundleFiles.ADAPTERS
        encoder, text = load_encoder(
            bundle.config.text, bundle.config.language, adapters if adapters.is_dir() else None
        )
        now = encoder_manifest(encoder, text)
        other = {key: now.get(key) for key in MUST_AGREE if now.get(key) != recorded.get(key)}
        if other:
            raise BundleError(
                "the language model is not the one that the bundle was made with",
                where="language.encoder",
                got=other,
                accepted=f"{ {key: recorded.get(key) for key in other} }",
                hint="bring that model back, or train and export again",
            )
        return encoder, text

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        """z̃ of texts, from memory where they were read before."""
        assert self._loaded is not None
        missing = list(dict.fromkeys(text for text in texts if text not in self._kept))
        if missing:
            fresh = self._loaded[0].encode(missing, show_progress=False)
            self._kept.update(zip(missing, fresh, strict=True))
        found = np.stack([self._kept[text] for text in texts])
        for text in texts:
            self._kept.move_to_end(text)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

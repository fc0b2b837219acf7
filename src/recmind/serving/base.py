"""A bundle as a server searches and reads it."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from recmind.schema import BundleTensors, Columns
from recmind.serving.bundle import Bundle
from recmind.serving.filtering import Catalogue
from recmind.serving.folding import Folding, unit
from recmind.serving.following import Following
from recmind.serving.index import open_search
from recmind.serving.neighbours import Near, heard, nearest
from recmind.serving.search import ExactSearch, Search
from recmind.serving.speech import Speech
from recmind.serving.tastes import Placed

Array = np.ndarray


class Base:
    """A bundle and what is derived from it: nothing here changes."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle, self.equations = bundle, bundle.equations
        self.folding, self.speech, self.threads = Folding(bundle.equations, bundle.parameters), Speech(bundle), threads
        tables = bundle.vectors
        self.users, self.items = tables[BundleTensors.USERS], tables[BundleTensors.ITEMS]
        self.tables = tables
        self.offsets, self.codes = bundle.history[BundleTensors.OFFSETS], bundle.history[BundleTensors.CODES]
        self.trained = bundle.history[BundleTensors.TRAINED]
        self.following = Following(bundle.equations, bundle.transitions) if bundle.transitions else None
        self.item_ids = bundle.items[Columns.ITEM].to_list()
        self.user_codes = {user: code for code, user in enumerate(bundle.users)}
        self.item_codes = {item: code for code, item in enumerate(self.item_ids)}
        self.catalogue = Catalogue(bundle.items)
        self.search: Search = open_search(self.items, bundle.index(), bundle.card["index"], threads)

    def place(self, texts: Array, known: Array) -> tuple[Placed, Near]:
        """New items, from z̃ ``(n, d_lm)`` and whether there is a text ``(n,)``, and what they are linked to."""
        linked = self.equations.text_links and BundleTensors.ITEMS_TEXTS in self.tables
        directions = self.text_directions if linked else None
        near = nearest(self.equations, self.tables, texts, known, directions)
        return self.folding.place(texts, known, heard(self.equations, self.tables, near)), near

    @property
    def n_items(self) -> int:
        """Items of the bundle."""
        return len(self.items)

    @cached_property
    def search_directions(self) -> Search:
        """Search by cosine: the same where the vectors have length 1, else in a table of their directions."""
        if self.equations.cosine:
            return self.search
        dim = self.equations.dim
        return ExactSearch(np.hstack([unit(self.items[:, :dim]), self.items[:, dim:]]), self.threads)

    @cached_property
    def text_directions(self) -> Array:
        """z̃ of the items at length 1, zero without a text, ``(n_items, d_lm)``; the table itself where it is so."""
        texts = self.tables[BundleTensors.ITEMS_TEXTS]
        lengths = np.sqrt(np.einsum("nd,nd->n", texts, texts))
        return texts if (np.abs(lengths[lengths > 0] - 1) < 1e-6).all() else unit(texts)

    @cached_property
    def averages(self) -> tuple[Array, Array]:
        """Mean row of the items ``(width + 1,)``, and the mean of the part of h that is z^L ``(d,)``, float64."""
        mean = self.items.mean(axis=0, dtype=np.float64)
        if BundleTensors.ITEMS_LANGUAGE not in self.tables:
            return mean, np.zeros(self.equations.dim)
        scale, language = self.tables[BundleTensors.ITEMS_SCALE], self.tables[BundleTensors.ITEMS_LANGUAGE]
        return mean, scale.astype(np.float64) @ language / len(language)

    def known_to(self, user: int) -> Array:
        """Codes of the items that a user is known to have, those trained on first, oldest first."""
        return self.codes[self.offsets[user] : self.offsets[user + 1]]

    def trained_on(self, user: int) -> Array:
        """Codes of the items that made the user's vector."""
        first = self.offsets[user]
        return self.codes[first : first + self.trained[user]]

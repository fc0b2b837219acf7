"""The model of a run, made again from what the run keeps: settings, interactions, tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recmind.config import Config
from recmind.data.splitting import Split
from recmind.machine import fitting_threads, resolve_device, threads
from recmind.model.graph import build_graph
from recmind.model.item_item import ItemItem
from recmind.model.language_view import TextInputs
from recmind.model.registry import Built, build_model, needs_text
from recmind.model.text_links import near_by_text
from recmind.model.transitions import ComesNext
from recmind.model.views import GraphModel, VectorScorer
from recmind.schema import Tensors
from recmind.training.catching_up import catch_up, train_anew

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class RunModel:
    """A trained model and the interactions that it knows."""

    config: Config
    """With what validation chose, where the settings left it to that."""
    split: Split
    """The training part is what the model knows; its graph is made of that."""
    tensors: dict[str, Tensor]
    """Everything in ``model.safetensors``."""
    popularity_factor: float = 1.0
    """What calibration multiplied the learnt popularity with."""
    best_epoch: int | None = None
    """Of the training, where there was one."""

    @property
    def texts(self) -> TextInputs:
        """What the language model says about the nodes that were trained on."""
        return TextInputs(**_below(self.tensors, Tensors.TEXTS))

    def scorer(self) -> VectorScorer | ItemItem:
        """⟨h_u, h_i⟩ by the kept vectors, or the item-item weights of a model that has those instead."""
        if Tensors.USERS in self.tensors:
            return VectorScorer(self.tensors[Tensors.USERS], self.tensors[Tensors.ITEMS], self._comes_next())
        restored = self.built()
        assert isinstance(restored, ItemItem)
        return restored

    def built(self, texts: TextInputs | None = None) -> Built:
        """The model with its trained parameters.

        Parameters
        ----------
        texts:
            Other text vectors than those that it was trained with, ``(n_items of training, d_lm)``.
        """
        model = self._untrained(self.split, texts)
        if isinstance(model, GraphModel):
            model.load_state_dict(_below(self.tensors, Tensors.PARAMETERS))
        elif isinstance(model, ItemItem):
            model.restore(self.tensors)
        return model

    def graph_model(self, texts: TextInputs | None = None) -> GraphModel:
        """:meth:`built` of a run whose model is trained on the graph."""
        model = self.built(texts)
        assert isinstance(model, GraphModel)
        return model

    @torch.no_grad()
    def with_items(self, texts: Tensor, known: Tensor) -> RunModel:
        """With items that came after training, placed by their texts behind the others.

        Parameters
        ----------
        texts, known:
            Text vectors ``(n, d_lm)`` and whether there is a text ``(n,)``.
        """
        h = self.graph_model().new_items(texts, known)
        more = {Tensors.ITEMS: h, f"{Tensors.ADDED}items": texts, f"{Tensors.ADDED}items_known": known}
        there = self.tensors
        joined = {key: torch.cat([there[key], t]) if key in there else t for key, t in more.items()}
        return replace(self, tensors=there | joined)

    def knowing(self, *names: str, show_progress: bool = False) -> RunModel:
        """The model as it is in use when the held-out parts ``names`` have become known; itself where they are empty.

        Graph, degrees, histories and latest items then are those of the
        training part and these, and the parameters have caught up with them
        (:mod:`recmind.training.catching_up`, where
        ``training.catch_up_epochs`` says so): those of all parts are in the
        run, those of some of them are trained here. A model that is computed
        without epochs is computed anew. What users are said to be by texts of
        their own stays.
        """
        split = self.split.knowing(*names)
        if split is self.split:
            return self
        tensors = {key: value for key, value in self.tensors.items() if not key.startswith(Tensors.CAUGHT_UP)}
        model = self._untrained(split)
        if isinstance(model, GraphModel):
            self._catch_up(model, split, show_progress)
            tensors |= {f"{Tensors.PARAMETERS}{name}": value for name, value in model.state_dict().items()}
            tensors |= self._vectors_by(model)
        else:
            model.fit()
            tensors |= model.tensors()
        return replace(self, split=split, tensors=tensors)

    def caught_up(self, *, show_progress: bool = False) -> dict[str, Tensor]:
        """Parameters that know all parts, as ``model.safetensors`` keeps them; none where nothing was held out."""
        known = self.knowing("valid", "test", show_progress=show_progress)
        found = {} if known is self else _below(known.tensors, Tensors.PARAMETERS)
        return {f"{Tensors.CAUGHT_UP}{name}": tensor for name, tensor in found.items()}

    def comes_next_with(self, codes: np.ndarray, vectors: Tensor, known: Tensor) -> ComesNext | None:
        """What came next, with items that came after nothing: they are raised as those of the nearest texts are.

        Parameters
        ----------
        codes, vectors, known:
            Of n such items: codes, text vectors ``(n, d_lm)`` and whether there is a text ``(n,)``.

        Returns
        -------
        ComesNext
            ``None`` where the trained model does not count it. A model without text links raises known items alone.
        """
        weight, model = float(self.tensors.get(f"{Tensors.PARAMETERS}sigma", 0.0)), self.config.model
        if not weight:
            return None
        train, texts = self.split.train, self.texts if needs_text(model.name) else None
        n_items = self.split.n_items if texts is None else len(texts.items)
        graph = build_graph(train.users, train.items, self.split.n_users, n_items)
        following = ComesNext.of(graph, model, weight)
        if texts is None or not model.text_links or not len(codes):
            return following
        near, shares = near_by_text(texts, graph, vectors, model.text_links)
        return following.with_new(codes, near.numpy(), (shares * known[:, None]).numpy())

    def _comes_next(self) -> ComesNext | None:
        late = _below(self.tensors, Tensors.ADDED)
        if not late:
            nothing = torch.empty(0, 0)
            return self.comes_next_with(np.empty(0, dtype=np.int64), nothing, nothing)
        n = len(self.tensors[Tensors.ITEMS])
        return self.comes_next_with(np.arange(n - len(late["items"]), n), late["items"], late["items_known"])

    def _untrained(self, split: Split, texts: TextInputs | None = None, device: torch.device = _CPU) -> Built:
        config = self.config.model
        if texts is None and needs_text(config.name):
            texts = self.texts
        # Items that came after training stand behind the others and have no parameters.
        n_items = len(texts.items) if texts is not None else split.n_items
        graph = build_graph(split.train.users, split.train.items, split.n_users, n_items)
        return build_model(graph.to(device), texts.to(device) if texts else None, config, seed=self.config.seed)

    def _catch_up(self, model: GraphModel, split: Split, show_progress: bool) -> None:
        everything = not any(len(split.part(name)) for name in ("valid", "test"))
        stored = _below(self.tensors, Tensors.CAUGHT_UP) if everything else {}
        trained = _below(self.tensors, Tensors.PARAMETERS)
        epochs = self.config.training.catch_up_epochs
        if stored or not epochs:
            model.load_state_dict(stored or trained)
            return
        device = resolve_device(self.config.device)
        there = model if device.type == "cpu" else self._untrained(split, device=device)
        assert isinstance(there, GraphModel)
        about = {"popularity_factor": self.popularity_factor, "show_progress": show_progress}
        with threads(self.config.threads or fitting_threads(len(split.train), self.config.model.dim)):
            if epochs == "anew":
                assert self.best_epoch is not None
                train_anew(there, split, self.config, epochs=self.best_epoch, chosen=trained, **about)
            else:
                there.load_state_dict(trained)
                catch_up(there, split, self.config, epochs=epochs, **about)
        model.load_state_dict(there.state_dict())

    @torch.no_grad()
    def _vectors_by(self, model: GraphModel) -> dict[str, Tensor]:
        """h of users and items by the model, with the items that came after training."""
        h, late = model.vectors(), _below(self.tensors, Tensors.ADDED)
        items = [h[model.n_users :]]
        if late:
            items.append(model.new_items(late["items"], late["items_known"]))
        return {Tensors.USERS: h[: model.n_users], Tensors.ITEMS: torch.cat(items)}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

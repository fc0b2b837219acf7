"""All models by name. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable

import torch

from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.model.baselines.alpharec import AlphaRec
from recmind.model.baselines.content_knn import ContentKNN
from recmind.model.baselines.dropoutnet import DropoutNet
from recmind.model.baselines.ease import Ease
from recmind.model.baselines.ials import IALS
from recmind.model.baselines.item_knn import ItemKNN
from recmind.model.baselines.item_knn_text import ItemKNNText
from recmind.model.baselines.kar import Kar
from recmind.model.baselines.lightgcl import LightGCL
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.baselines.llm_init import LLMInit
from recmind.model.baselines.ngcf import NGCF
from recmind.model.baselines.popularity import Popularity
from recmind.model.baselines.rlmrec_con import RLMRecCon
from recmind.model.baselines.rlmrec_gen import RLMRecGen
from recmind.model.baselines.sasrec import SASRec
from recmind.model.baselines.sequential_rules import SequentialRules
from recmind.model.baselines.sgl import SGL
from recmind.model.baselines.simgcl import SimGCL
from recmind.model.baselines.text import TextGraph
from recmind.model.baselines.xsimgcl import XSimGCL
from recmind.model.graph import BipartiteGraph
from recmind.model.item_item import Computed
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel

Built = GraphModel | Computed
_Builder = Callable[[BipartiteGraph, TextInputs, ModelConfig], Built]

_WITH_TEXT: dict[str, _Builder] = {
    "recmind": RecMind,
    "text": TextGraph,
    "item-knn-text": ItemKNNText,
    "content-knn": ContentKNN,
    "llm-init": LLMInit,
    "rlmrec-con": RLMRecCon,
    "rlmrec-gen": RLMRecGen,
    "alpharec": AlphaRec,
    "kar": Kar,
    "dropoutnet": DropoutNet,
}
_WITHOUT_TEXT: dict[str, Callable[[BipartiteGraph, ModelConfig], Built]] = {
    "lightgcn": LightGCN,
    "popularity": lambda graph, config: Popularity(graph),
    "item-knn": ItemKNN,
    "sequential-rules": SequentialRules,
    "ease": Ease,
    # Matrix factorisation is LightGCN without a layer (He et al. 2020, section 3.1), whatever the recipe's layers are.
    "bpr-mf": lambda graph, config: LightGCN(graph, config.model_copy(update={"layers": 0})),
    "ials": IALS,
    "ngcf": NGCF,
    "sgl": SGL,
    "simgcl": SimGCL,
    "xsimgcl": XSimGCL,
    "lightgcl": LightGCL,
    "sasrec": SASRec,
}


def model_names() -> list[str]:
    """Names that ``model.name`` accepts."""
    return [*_WITH_TEXT, *_WITHOUT_TEXT]


def needs_text(name: str) -> bool:
    """Whether the model reads texts."""
    return name in _WITH_TEXT


def places_new_items(name: str) -> bool:
    """Whether the model gives items vectors from their texts alone, so that it can take items after training."""
    return name in ("recmind", "text", "alpharec", "dropoutnet")


def build_model(graph: BipartiteGraph, texts: TextInputs | None, config: ModelConfig, *, seed: int) -> Built:
    """The model of ``config`` with parameters drawn from ``seed``.

    Raises
    ------
    ConfigError
        If the model reads texts and there are none.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.name in _WITHOUT_TEXT:
            model = _WITHOUT_TEXT[config.name](graph, config)
        elif texts is None:
            raise ConfigError("the model reads texts, and none were given", where="model.name", got=config.name)
        else:
            model = _WITH_TEXT[config.name](graph, texts, config)
    if isinstance(model, GraphModel):
        model.keep_weights()
    return model

"""iALS (Hu, Koren & Volinsky 2008): weighted matrix factorisation by alternating least squares, by ``implicit``."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.model.graph import BipartiteGraph
from recmind.model.item_item import Computed, interaction_matrix
from recmind.schema import Tensors


class IALS(Computed):
    """s(u, i) = ⟨x_u, y_i⟩, the minimum of Σ_{u,i} c_ui (p_ui - ⟨x_u, y_i⟩)² + λ (Σ_u ‖x_u‖² + Σ_i ‖y_i‖²).

    Equation 3 of the paper: p_ui is 1 and c_ui 1 + α for a training
    interaction, and 0 and 1 for all other pairs. Each half of an iteration
    solves x_u = (YᵀY + Yᵀ(C_u - I)Y + λI)⁻¹ YᵀC_u p_u (equation 4) exactly;
    the items are solved for last.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.interactions, self.dim, self.settings = interaction_matrix(graph), config.dim, config.baselines.ials
        self.seed = int(torch.randint(2**31 - 1, ()))

    def fit(self) -> None:
        """Alternate for as many iterations as are set.

        Raises
        ------
        ConfigError
            If the library is not installed.
        """
        try:
            from implicit.cpu.als import AlternatingLeastSquares  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError(
                "the model 'ials' is computed by the library implicit, which is not installed",
                where="model.name",
                got="ials",
                hint='pip install "recmind[studies]"',
            ) from error

        model = AlternatingLeastSquares(
            factors=self.dim,
            regularization=self.settings.regularisation,
            iterations=self.settings.iterations,
            use_cg=False,
            num_threads=torch.get_num_threads(),
            random_state=self.seed,
        )
        # The library takes c itself, not what it exceeds 1 by.
        model.fit(csr_matrix(self.interactions * np.float32(1 + self.settings.alpha)), show_progress=False)
        self.users, self.items = torch.from_numpy(model.user_factors), torch.from_numpy(model.item_factors)

    def scores(self, users: Tensor) -> Tensor:
        """⟨x_u, y_i⟩ for all items, ``(b, n_items)``."""
        return self.users[users.cpu()] @ self.items.T

    def tensors(self) -> dict[str, Tensor]:
        """x and y."""
        return {Tensors.USERS: self.users, Tensors.ITEMS: self.items}

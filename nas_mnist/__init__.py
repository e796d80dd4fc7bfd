"""Architecture search for small MNIST networks under a hard parameter budget.

    import nas_mnist

    network = nas_mnist.parse_notation("c10rn-c20rn-m2-c12rn-g-c10k1")
    network.parameters, network.macs, network.receptive_field
    front = nas_mnist.load_study("mnist-8000", "sqlite:///studies/mnist-8000.db").front()

Names are imported when they are first used, so that importing the package is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_mnist.arch.architecture import Architecture
    from nas_mnist.arch.network import build_network
    from nas_mnist.arch.notation import format_notation, parse_notation
    from nas_mnist.arch.references import references
    from nas_mnist.arch.skeleton import Choices, decode
    from nas_mnist.errors import NasMnistError
    from nas_mnist.output.export import export_network
    from nas_mnist.output.figures import front_figure
    from nas_mnist.search.config import SearchConfig
    from nas_mnist.search.confirm import confirmed, prepare_confirmation, run_confirmation
    from nas_mnist.search.pruner import DominancePruner
    from nas_mnist.search.run import prepare_search, run_search
    from nas_mnist.search.study import load_study
    from nas_mnist.search.winner import chosen
    from nas_mnist.training.datasets import load_dataset, split_dataset
    from nas_mnist.training.pack import Member, Pack
    from nas_mnist.training.recipe import Augmentation, Recipe
    from nas_mnist.training.trainer import Trainer

__all__ = [
    "Architecture",
    "Augmentation",
    "Choices",
    "DominancePruner",
    "Member",
    "NasMnistError",
    "Pack",
    "Recipe",
    "SearchConfig",
    "Trainer",
    "build_network",
    "chosen",
    "confirmed",
    "decode",
    "export_network",
    "format_notation",
    "front_figure",
    "load_dataset",
    "load_study",
    "parse_notation",
    "prepare_confirmation",
    "prepare_search",
    "references",
    "run_confirmation",
    "run_search",
    "split_dataset",
]

_MODULES = {
    "arch.architecture": ("Architecture",),
    "arch.network": ("build_network",),
    "arch.notation": ("format_notation", "parse_notation"),
    "arch.references": ("references",),
    "arch.skeleton": ("Choices", "decode"),
    "errors": ("NasMnistError",),
    "output.export": ("export_network",),
    "output.figures": ("front_figure",),
    "search.config": ("SearchConfig",),
    "search.confirm": ("confirmed", "prepare_confirmation", "run_confirmation"),
    "search.pruner": ("DominancePruner",),
    "search.run": ("prepare_search", "run_search"),
    "search.study": ("load_study",),
    "search.winner": ("chosen",),
    "training.datasets": ("load_dataset", "split_dataset"),
    "training.pack": ("Member", "Pack"),
    "training.recipe": ("Augmentation", "Recipe"),
    "training.trainer": ("Trainer",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

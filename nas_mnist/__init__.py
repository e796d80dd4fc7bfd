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
    from nas_mnist.errors import NasMnistError
    from nas_mnist.execution.confirmation import confirmed, prepare_confirmation, run_confirmation
    from nas_mnist.execution.run import prepare_search, run_search
    from nas_mnist.execution.spec import SearchConfig
    from nas_mnist.execution.study import load_study
    from nas_mnist.execution.winner import chosen
    from nas_mnist.networks.architecture import Architecture, build_network
    from nas_mnist.networks.notation import format_notation, parse_notation
    from nas_mnist.networks.references import references
    from nas_mnist.networks.skeleton import Choices, decode
    from nas_mnist.report.export import export_network
    from nas_mnist.report.figures import front_figure
    from nas_mnist.search.pruner import DominancePruner
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
    "networks.architecture": ("Architecture",),
    "networks.build": ("build_network",),
    "networks.notation": ("format_notation", "parse_notation"),
    "networks.references": ("references",),
    "networks.skeleton": ("Choices", "decode"),
    "errors": ("NasMnistError",),
    "report.export": ("export_network",),
    "report.figures": ("front_figure",),
    "execution.spec": ("SearchConfig",),
    "execution.confirmation": ("confirmed", "prepare_confirmation", "run_confirmation"),
    "search.pruner": ("DominancePruner",),
    "execution.run": ("prepare_search", "run_search"),
    "execution.study": ("load_study",),
    "execution.winner": ("chosen",),
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

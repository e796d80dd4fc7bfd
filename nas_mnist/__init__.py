"""Architecture search for small MNIST networks under a hard parameter budget.

    import nas_mnist

    study = nas_mnist.search(dataset="digits", budget=2000, trials=30)
    study.front(), study.to_pandas()
    network = study.winner().load()
    study.winner().export("winner.py")

Names are imported when they are first used, so that importing the package is fast.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_mnist.api import Study, load_study, search
    from nas_mnist.errors import NasMnistError
    from nas_mnist.execution.confirmation import chosen, confirmed
    from nas_mnist.execution.run import (
        prepare_confirmation,
        prepare_search,
        run_confirmation,
        run_search,
    )
    from nas_mnist.execution.spec import SearchConfig
    from nas_mnist.networks.architecture import (
        Architecture,
        Limit,
        build_network,
        format_notation,
        parse_notation,
    )
    from nas_mnist.networks.layers import Layer
    from nas_mnist.networks.references import references
    from nas_mnist.networks.skeleton import Template
    from nas_mnist.report.export import export_network
    from nas_mnist.report.figures import front_figure
    from nas_mnist.search.choices import DEFAULT_CHOICES, Choice
    from nas_mnist.search.pruner import DominancePruner
    from nas_mnist.search.space import Space
    from nas_mnist.training.datasets import Dataset, load_dataset, split_dataset
    from nas_mnist.training.pack import Member, Pack
    from nas_mnist.training.recipe import Augmentation, Recipe
    from nas_mnist.training.trainer import Trainer

_MODULES = {
    "api": ("Study", "load_study", "search"),
    "errors": ("NasMnistError",),
    "execution.confirmation": ("chosen", "confirmed"),
    "execution.run": (
        *("prepare_confirmation", "prepare_search"),
        *("run_confirmation", "run_search"),
    ),
    "execution.spec": ("SearchConfig",),
    "networks.architecture": (
        *("Architecture", "Limit", "build_network"),
        *("format_notation", "parse_notation"),
    ),
    "networks.layers": ("Layer",),
    "networks.references": ("references",),
    "networks.skeleton": ("Template",),
    "report.export": ("export_network",),
    "report.figures": ("front_figure",),
    "search.choices": ("DEFAULT_CHOICES", "Choice"),
    "search.pruner": ("DominancePruner",),
    "search.space": ("Space",),
    "training.datasets": ("Dataset", "load_dataset", "split_dataset"),
    "training.pack": ("Member", "Pack"),
    "training.recipe": ("Augmentation", "Recipe"),
    "training.trainer": ("Trainer",),
}

__all__ = [
    "DEFAULT_CHOICES",
    "Architecture",
    "Augmentation",
    "Choice",
    "Dataset",
    "DominancePruner",
    "Layer",
    "Limit",
    "Member",
    "NasMnistError",
    "Pack",
    "Recipe",
    "SearchConfig",
    "Space",
    "Study",
    "Template",
    "Trainer",
    "build_network",
    "chosen",
    "confirmed",
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
    "search",
    "split_dataset",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            if name == "search":  # the package, which can be called
                return importlib.import_module(f"{__name__}.search")
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package; `nas_mnist.search` is a package of its own, and what a user calls."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "search" and isinstance(value, ModuleType):
            value.__class__ = _CallableSearch
        super().__setattr__(name, value)


class _CallableSearch(ModuleType):
    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """Search networks: see `nas_mnist.api.search`."""
        from nas_mnist.api import search

        return search(*arguments, **settings)


sys.modules[__name__].__class__ = _Package

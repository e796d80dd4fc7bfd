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
import importlib.metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_mnist.api import Study as Study, load_study as load_study, search as search
    from nas_mnist.errors import NasMnistError as NasMnistError
    from nas_mnist.execution.confirmation import chosen as chosen, confirmed as confirmed
    from nas_mnist.execution.run import (
        prepare_confirmation as prepare_confirmation,
        prepare_search as prepare_search,
        run_confirmation as run_confirmation,
        run_search as run_search,
    )
    from nas_mnist.execution.spec import SearchConfig as SearchConfig
    from nas_mnist.networks.architecture import (
        Architecture as Architecture,
        Limit as Limit,
        build_network as build_network,
        format_notation as format_notation,
        parse_notation as parse_notation,
    )
    from nas_mnist.networks.layers import Layer as Layer
    from nas_mnist.networks.references import references as references
    from nas_mnist.networks.skeleton import Template as Template
    from nas_mnist.report.export import export_network as export_network
    from nas_mnist.report.figures import front_figure as front_figure
    from nas_mnist.search.choices import DEFAULT_CHOICES as DEFAULT_CHOICES, Choice as Choice
    from nas_mnist.search.pruner import DominancePruner as DominancePruner
    from nas_mnist.search.space import Space as Space
    from nas_mnist.training.datasets import (
        Dataset as Dataset,
        load_dataset as load_dataset,
        split_dataset as split_dataset,
    )
    from nas_mnist.training.pack import Member as Member, Pack as Pack
    from nas_mnist.training.recipe import Augmentation as Augmentation, Recipe as Recipe
    from nas_mnist.training.trainer import Trainer as Trainer

_MODULES = {
    "api": ("Study", "load_study", "search"),
    "errors": ("NasMnistError",),
    "execution.confirmation": ("chosen", "confirmed"),
    "execution.run": ("prepare_confirmation", "prepare_search", "run_confirmation", "run_search"),
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

__all__ = sorted(name for names in _MODULES.values() for name in names)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("nas-mnist")
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


class _CallableSearch(ModuleType):
    """`nas_mnist.search` is a package of its own, and what a user calls: `nas_mnist.api.search`."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return importlib.import_module(f"{__name__}.api").search(*arguments, **settings)


importlib.import_module(f"{__name__}.search").__class__ = _CallableSearch

"""The public names, and where each is from: for readers of types, and for `__init__.py`."""

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

__version__: str

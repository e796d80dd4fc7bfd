"""On a GPU: the same training, and the step as one captured graph."""

from __future__ import annotations

import pytest
import torch

from nas_mnist.training.datasets import Dataset, split_dataset
from nas_mnist.training.pack import Pack
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.trainer import EpochRecord
from tests.training.test_pack import NOTATIONS, furthest, members, pack_of, solo

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = torch.device("cuda")


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_member_is_its_solo_run(digits: Dataset, optimizer: str, graphs: bool) -> None:
    recipe = Recipe(epochs=2, batch_size=32, optimizer=optimizer)
    rates = (0.003, 0.001) if optimizer == "adamw" else (0.02, 0.01)
    wanted = members(NOTATIONS["dense"], recipe, rates)
    pack = pack_of(digits, wanted, GPU, precision=torch.float64, graphs=graphs)
    list(pack)
    for place, member in enumerate(wanted):
        trainer = solo(digits, member, torch.float64, GPU)
        list(trainer)
        assert furthest(pack.network(place), trainer.network) < 1e-9


def test_graphs_go_on_when_a_member_is_stopped(digits: Dataset) -> None:
    wanted = members(["c6rn-m2-c8rn-g-c10k1"] * 3, Recipe(epochs=3, batch_size=32), (0.02,) * 3)
    networks = []
    for graphs in (True, False):
        pack = pack_of(digits, wanted, GPU, precision=torch.float64, graphs=graphs)
        for epoch, _ in enumerate(pack):
            if epoch == 0:
                pack.stop(1)
        networks.append([pack.network(place) for place in range(3)])
    for captured, eager in zip(*networks, strict=True):
        assert furthest(captured, eager) < 1e-9


def test_it_learns_real_mnist(mnist: Dataset) -> None:
    train, validation = split_dataset(mnist, 0, 5000)
    pack = Pack(
        members(
            ["c6rn-m2-c8rnx0.05-m2-c10rn-g-c10k1"] * 2, Recipe(epochs=3, batch_size=64), (0.1,) * 2
        ),
        train,
        validation,
        normalization=mnist.normalization,
        device=GPU,
    )
    *_, last = pack
    for place in range(2):
        record = last[place]
        assert isinstance(record, EpochRecord)
        assert record.accuracy >= 92

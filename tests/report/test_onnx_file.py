"""The ONNX file of a network: the same logits, whatever its layers and however many images."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import optuna
import pytest
import torch
from torch import Tensor, nn

import nas_mnist
from nas_mnist.errors import NasMnistError
from nas_mnist.execution.confirmation import chosen
from nas_mnist.networks.architecture import Limit, build_network, parse_notation
from nas_mnist.report.onnx_file import onnx_bytes
from nas_mnist.search.space import DEFAULT
from nas_mnist.training.datasets import Dataset
from tests.conftest import Search, runner

# All that a search draws, then the layers that it does not.
DRAWN = "u1-v-c10rnx0.02-d-c12k1rnx0.02-a2-c8k1rn-c10rn-m2-c10rn-g-c20k1r-c10k1"
OTHERS = "c6rny0.1-[dp1-c6p1in]rn0-m2-w2c6p1s2-w2[dp1-c6k1rn-a2]-c8p1bn-g-c10k1"


def answers(content: bytes | Path, images: Tensor) -> Tensor:
    model = str(content) if isinstance(content, Path) else content
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    return torch.from_numpy(np.array(logits))


def test_the_drawn_layers_are_tried() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found: set[str] = set()
    for _ in range(100):
        network = DEFAULT.decode(DEFAULT.suggest(study.ask()), Limit(8000))
        found |= {layer.op for layer in network.layers}
    assert found == {layer.op for layer in parse_notation(DRAWN).layers}


@pytest.mark.parametrize("notation", [DRAWN, OTHERS], ids=["drawn", "others"])
def test_the_logits_are_those_of_torch(notation: str, mnist: Dataset) -> None:
    torch.manual_seed(0)
    architecture = parse_notation(notation)
    network = build_network(architecture)
    images = (mnist.test.images.float() / 255 - 0.1307) / 0.3081
    network(images[:500])  # running statistics that are not those of the start
    content = onnx_bytes(network.eval(), architecture, (0.1307, 0.3081))
    for count in (1, 2, 300):
        with torch.inference_mode():
            expected = network(images[:count])
        assert torch.allclose(answers(content, images[:count]), expected, rtol=1e-4, atol=1e-4)
    assert b"site-packages" not in content  # nothing of the machine that wrote it


def test_export_writes_it_beside_the_module(
    digits_search: Search, digits: Dataset, tmp_path: Path
) -> None:
    done = runner(digits_search.folder)("export", "demo", "-o", f"{tmp_path}/net.py", "--onnx")
    assert done.code == 0, done.err
    names = ", ".join(f"{tmp_path}/net.{ending}" for ending in ("py", "pt", "onnx", "md"))
    assert done.err.splitlines()[-1] == f"wrote {names}"
    winner = nas_mnist.Study.load("demo", f"sqlite:///{digits_search.folder}/studies/demo.db")
    network, (mean, std) = winner.winner().load(), winner.normalization
    images = (digits.test.images.float() / 255 - mean) / std
    with torch.inference_mode():
        expected = network(images)
    found = answers(tmp_path / "net.onnx", images)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    known = session.get_modelmeta().custom_metadata_map
    notation = chosen(winner).trial.notation
    assert known == {"notation": notation, "mean": repr(mean), "std": repr(std)}
    # The code of its card does as it says.
    card = (tmp_path / "net.md").read_text()
    _, code = re.findall("^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    source = (tmp_path / "net.py").read_text()
    module: dict[str, object] = {"__file__": str(tmp_path / "net.py")}
    exec(source, module)
    beside = {"net": type("net", (), {"normalize": staticmethod(module["normalize"])})}
    beside["images"] = digits.test.images  # type: ignore[assignment]
    exec(code.replace('"net.onnx"', repr(str(tmp_path / "net.onnx"))), beside)
    assert torch.equal(torch.from_numpy(np.array(beside["logits"])), found)


def test_a_file_of_ones_own_is_not_replaced(digits_search: Search, tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_text("mine")
    done = runner(digits_search.folder)("export", "demo", "-o", f"{tmp_path}/own.py", "--onnx")
    assert done.code == 2
    assert "own.onnx is there and was not exported by nas-mnist" in done.err
    assert [file.name for file in tmp_path.iterdir()] == ["own.onnx"]


def test_the_missing_packages_are_named(
    digits_search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = runner(digits_search.folder)("export", "demo", "-o", f"{tmp_path}/net.py", "--onnx")
    assert done.code == 2
    assert done.err == "error: writing ONNX needs onnxscript: pip install 'nas-mnist[onnx]'\n"
    assert not [*tmp_path.iterdir()]


def test_a_layer_that_torch_cannot_write() -> None:
    class Own(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) * (2 if images.sum() > 0 else 1)

    network = parse_notation("c4-g-c10k1")
    with pytest.raises(NasMnistError, match=r"^c4-g-c10k1 cannot be written as ONNX: "):
        onnx_bytes(Own().eval(), network, (0.1, 0.3))

"""The exported file: the same logits, torch alone, and no code but ours."""

from __future__ import annotations

import ast
import importlib.util
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image, ImageOps

from nas_mnist.errors import RequestError, StorageError
from nas_mnist.execution.confirmation import Candidate
from nas_mnist.execution.estimates import estimates, front
from nas_mnist.execution.records import StudyRecord, TrialRecord, load_study
from nas_mnist.networks.architecture import Architecture, build_network, parse_notation
from nas_mnist.networks.references import references
from nas_mnist.report.export import export_network, load_weights, module_source
from nas_mnist.training.datasets import Dataset, data_folder, split_dataset
from nas_mnist.training.pack import Member, Pack
from nas_mnist.training.recipe import DATASETS
from nas_mnist.training.trainer import EpochRecord, accuracy, logits
from tests.conftest import Search
from tests.networks.test_architecture import architectures

RESULTS = Path(__file__).parents[2] / "results"
NO_FACTS: dict[str, str] = {}

# Refuses every import but torch's own and the standard library's, as a bare environment would.
BARE = """
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "nas_mnist", "torchvision", "optuna", "pandas", "plotly", "sklearn", "typer", "rich"
        }:
            raise ImportError(name)
sys.meta_path.insert(0, Bare())
"""


def exported_module(architecture: Architecture, folder: Path) -> Path:
    file = folder / "network.py"
    file.write_text(module_source(architecture, "mnist", (0.13, 0.31), NO_FACTS))
    return file


def logits_of(file: Path, images: torch.Tensor, name: str = "network") -> torch.Tensor:
    """Logits that a process with nothing but torch gets from the exported file."""
    torch.save(images, file.parent / "images.pt")
    code = BARE + (
        "import importlib, torch\n"
        f"network = importlib.import_module({name!r})\n"
        "torch.set_num_threads(1)\n"
        "model = network.load()\n"
        "images = torch.load('images.pt', weights_only=True)\n"
        "with torch.inference_mode():\n"
        "    torch.save(model(network.normalize(images)), 'logits.pt')\n"
        "print(sum(weights.numel() for weights in model.parameters()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    (file.parent / "parameters").write_text(done.stdout)
    logits: torch.Tensor = torch.load(file.parent / "logits.pt", weights_only=True)
    return logits


def candidate(record: StudyRecord, trial: TrialRecord) -> Candidate:
    return Candidate(trial, estimates(record)[trial.number], None)


def test_the_trained_network_and_its_file_agree(
    digits_search: Search, digits: Dataset, tmp_path: Path
) -> None:
    """Retrains a trial from its record alone: the file's logits are the trained network's."""
    record = digits_search.record()
    trial = front(record)[-1]
    export_network(record, candidate(record, trial), tmp_path / "made" / "network.py")
    copied = tmp_path / "copied"
    shutil.copytree(tmp_path / "made", copied)

    config = record.spec
    train, validation = split_dataset(digits, config.seed, config.train_samples)
    recipe = config.trial_recipe(trial.peak_learning_rate)
    pack = Pack(
        [Member(trial.architecture, recipe, trial.seed)],
        train,
        validation,
        normalization=digits.normalization,
        device=torch.device("cpu"),
    )
    *_, last = pack
    network = pack.network(0)
    assert isinstance(last[0], EpochRecord)
    assert last[0].accuracy == pytest.approx(trial.val_accuracy, abs=1e-5)
    assert accuracy(network, digits.test, digits.normalization) == trial.test_accuracy

    found = logits_of(copied / "network.py", digits.test.images)
    # Evaluation goes batch by batch, the file takes all at once: sums may round otherwise.
    trained = logits(network, digits.test, digits.normalization)
    assert torch.allclose(found, trained, rtol=0, atol=1e-4)
    assert torch.equal(found.argmax(dim=1), trained.argmax(dim=1))
    assert int((copied / "parameters").read_text()) == trial.architecture.parameters


@pytest.mark.parametrize("name", [name for name in references() if name != "setup-6m"])
def test_every_reference_exports(name: str, tmp_path: Path) -> None:
    architecture = references()[name].architecture
    network = build_network(architecture).eval()
    namespace: dict[str, object] = {"__file__": str(tmp_path / "network.py")}
    exec(module_source(architecture, "mnist", (0.1, 0.3), NO_FACTS), namespace)
    exported = namespace["Network"]()  # type: ignore[operator]
    exported.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        assert torch.equal(exported.eval()(images), network(images))


COMPOSITE = "u1-v-c6rn-[c6p1rn-[c6p1n]rx0.1-c6p1n]rn0-m2-w2c6p1s2-w2[dp1-c6k1rn-a2]-c8p1in-g-c10k1"


def test_composite_layers_export(tmp_path: Path) -> None:
    architecture = parse_notation(COMPOSITE)
    torch.manual_seed(0)
    network = build_network(architecture)
    network(torch.randn(64, 1, 28, 28))  # running statistics that are not those of the start
    file = exported_module(architecture, tmp_path)
    torch.save(network.state_dict(), file.with_suffix(".pt"))
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network.eval()((images.float() / 255 - 0.13) / 0.31)
    assert torch.equal(logits_of(file, images), expected)
    assert 'self.norm2.register_parameter("weight", None)' in file.read_text()
    assert """
        x = deskew(x, sized=True)
        x = x if self.training else views(x)
        x = self.norm1(functional.relu(self.conv1(x)))
        y = self.residual1.norm1(functional.relu(self.residual1.conv1(x)))
        z = self.residual1.residual1.norm1(self.residual1.residual1.conv1(y))
        y = y + z
        y = self.residual1.dropout1(functional.relu(y))
        y = self.residual1.norm2(self.residual1.conv2(y))
        x = x + y
        x = self.norm2(functional.relu(x))
        x = functional.max_pool2d(x, 2)
        x = self.repeat1.norm1(functional.relu(self.repeat1.conv1(x)))
        x = self.repeat1.norm2(functional.relu(self.repeat1.conv1(x)))
        gate = functional.relu(self.excite1.reduce(functional.adaptive_avg_pool2d(x, 1)))
        x = x * torch.sigmoid(self.excite1.expand(gate))
        x = self.repeat2.depthwise1(x)
        x = self.repeat2.norm1(functional.relu(self.repeat2.conv1(x)))
        x = anti_aliased_pool(x)
        x = self.repeat2.depthwise1(x)
        x = self.repeat2.norm2(functional.relu(self.repeat2.conv1(x)))
        x = anti_aliased_pool(x)
        x = self.norm3(functional.silu(self.conv2(x)))
        x = functional.adaptive_avg_pool2d(x, 1)
        x = self.conv3(x)
        x = x.flatten(1)
        return x if self.training else x.view(5, -1, 10).mean(0)
""" in file.read_text()


@pytest.mark.parametrize(
    "notation",
    [
        "c4" + "[" * 3 + "c4p1n" + "]" * 3 + "-g-c10k1",
        "c4" + "[" * 8 + "c4p1n" + "]" * 8 + "-g-c10k1",
        "[uc1p1rn]-c6rn-w2[u1c6p1rn]-g-c10k1",
    ],
)
def test_layers_within_others_export(notation: str) -> None:
    architecture = parse_notation(notation)
    network = build_network(architecture).eval()
    namespace: dict[str, object] = {"__file__": "network.py"}
    exec(module_source(architecture, "mnist", (0.1, 0.3), NO_FACTS), namespace)
    exported = namespace["Network"]()  # type: ignore[operator]
    exported.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        assert torch.equal(exported.eval()(images), network(images))


@given(architectures(), st.text())
def test_no_text_becomes_code(architecture: Architecture, text: str) -> None:
    """Whatever a database says, the file differs from a plain one in its docstring alone."""
    hostile = {"study": text + '"""\nimport os\n"""', "date": text}
    plain = ast.parse(module_source(architecture, "mnist", (0.1, 0.3), NO_FACTS, ["a", "b"]))
    names = ast.parse(module_source(architecture, "mnist", (0.1, 0.3), NO_FACTS, ["a", text]))
    tree = ast.parse(module_source(architecture, "mnist", (0.1, 0.3), hostile, ["a", "b"]))
    literals = [node for node in ast.walk(names) if isinstance(node, ast.List)]
    assert any(ast.literal_eval(node) == ["a", text] for node in literals[:1])
    assert len([*ast.walk(names)]) == len([*ast.walk(plain)])
    assert ast.dump(ast.Module(tree.body[1:], [])) == ast.dump(ast.Module(plain.body[1:], []))


def test_the_file_reads_as_a_person_would_write_it(tmp_path: Path) -> None:
    source = exported_module(parse_notation("c4rn-m2-d-c6k1rnx0.05-g-c10k1"), tmp_path).read_text()
    assert (
        '''
class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(4)
        self.depthwise1 = nn.Conv2d(4, 4, 3, groups=4, bias=False)
        self.conv2 = nn.Conv2d(4, 6, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(6)
        self.dropout1 = nn.Dropout(0.05)
        self.conv3 = nn.Conv2d(6, 10, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10) of normalized images (batch, 1, 28, 28)."""
        x = self.norm1(functional.relu(self.conv1(x)))
        x = functional.max_pool2d(x, 2)
        x = self.depthwise1(x)
        x = self.dropout1(self.norm2(functional.relu(self.conv2(x))))
        x = functional.adaptive_avg_pool2d(x, 1)
        x = self.conv3(x)
        return x.flatten(1)
'''
        in source
    )


def test_running_the_file_tests_it_on_the_mnist_files(mnist: Dataset, tmp_path: Path) -> None:
    file = exported_module(parse_notation("c4rn-m2-c4rn-g-c10k1"), tmp_path)
    network = build_network(parse_notation("c4rn-m2-c4rn-g-c10k1")).eval()
    torch.save(network.state_dict(), tmp_path / "network.pt")
    with torch.inference_mode():
        logits = network((mnist.test.images.float() / 255 - 0.13) / 0.31)
    right = 100 * float((logits.argmax(dim=1) == mnist.test.labels).double().mean())

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, file, *arguments], capture_output=True, text=True, check=False
        )

    line = f"{right:.2f} % of 10,000 test images\n"
    assert run(str(data_folder(None))).stdout == line
    assert run(str(data_folder(None) / "MNIST" / "raw")).stdout == line
    (tmp_path / "empty").mkdir()
    assert run(str(tmp_path / "empty")).stderr.endswith("no t10k-images-idx3-ubyte in it\n")
    assert run().stderr.startswith("usage:")
    Image.fromarray(mnist.test.images[0, 0].numpy()).save(tmp_path / "digit.png")
    assert run(str(tmp_path / "digit.png")).stdout == f"{int(logits[0].argmax())}\n"
    none = tmp_path / "none.png"
    assert run(str(none)).stderr == f"{none}: No such file or directory\n"
    assert "cannot identify" in run(str(file)).stderr


def imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("side", [28, 280])
def test_a_picture_is_read_light_on_dark(mnist: Dataset, tmp_path: Path, side: int) -> None:
    """Ink on paper is told by its border, and inverted."""
    module = imported(exported_module(parse_notation("c4-g-c10k1"), tmp_path))
    assert "A picture with a light border is inverted first." in str(module.__doc__)
    for index in range(20):
        digit = Image.fromarray(mnist.test.images[index, 0].numpy()).resize((side, side))
        digit.save(tmp_path / "light.png")
        ImageOps.invert(digit).convert("RGB").save(tmp_path / "dark.png")
        light, dark = (module.read_picture(tmp_path / name) for name in ("light.png", "dark.png"))
        assert light.shape == dark.shape == (1, 1, 28, 28)
        if side == 28:
            assert torch.equal(light[0], mnist.test.images[index])
        assert int((light.int() - dark.int()).abs().max()) <= 1  # as resizing rounds


def test_the_published_winner_reads_ink_on_paper(mnist: Dataset, tmp_path: Path) -> None:
    """The first test image, a 7, was a 2 to it in black on white."""
    front = pd.read_csv(RESULTS / "mnist-8k" / "front.csv")
    architecture = parse_notation(front.loc[front.estimate.idxmax()].notation)
    module = imported(exported_module(architecture, tmp_path))
    network = module.load(RESULTS / "mnist-8k" / "winner.pt")
    digit = Image.fromarray(mnist.test.images[0, 0].numpy())
    for picture in (digit, ImageOps.invert(digit)):
        picture.save(tmp_path / "digit.png")
        assert int(module.classify(network, module.read_picture(tmp_path / "digit.png"))) == 7
    as_it_is = 255 - mnist.test.images[:1]
    assert int(module.classify(network, as_it_is)) == 2


def test_the_file_says_what_it_can_be_run_on(tmp_path: Path) -> None:
    """On the files of its own dataset alone; scikit-learn's digits have none."""
    architecture = parse_notation("c4rn-m2-c4rn-g-c10k1")
    sources = {name: module_source(architecture, name, (0.13, 0.31), NO_FACTS) for name in DATASETS}
    assert '"FashionMNIST" / "raw"' in sources["fashion-mnist"]
    assert "FILE.py path/to/KMNIST/raw" in sources["kmnist"]
    assert "raw" not in sources["digits"] and "gzip" not in sources["digits"]
    file = tmp_path / "network.py"
    file.write_text(sources["digits"])
    torch.save(build_network(architecture).state_dict(), tmp_path / "network.pt")
    done = subprocess.run(
        [sys.executable, file, tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"{tmp_path}: Is a directory\n")
    # Nobody knows what a user's own pictures look like: they are read as they are.
    light = {name for name, source in sources.items() if "255 - image" in source}
    assert light == DATASETS.keys() - {"folder"}
    for name, source in sources.items():
        made = tmp_path / f"{name}.py"
        made.write_text(source)
        ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet"]
        ruff += ["--select", "E,F,I", "--line-length", "100", made]
        subprocess.run(ruff, check=True)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save(build_network(parse_notation("c4-g-c10k1")).state_dict(), file)
    load_weights(parse_notation("c4-g-c10k1"), file.read_bytes())
    for weights in (file.read_bytes(), b"{}", b"", pickle.dumps(print)):
        with pytest.raises(StorageError, match="not those of c5-g-c10k1"):
            load_weights(parse_notation("c5-g-c10k1"), weights)


def test_a_failed_export_leaves_the_last_one(digits_search: Search, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(digits_search.folder, folder)
    record = load_study("demo", f"sqlite:///{folder}/studies/demo.db")
    trial = front(record)[-1]
    file = tmp_path / "größe @ 1.py"  # a name of any kind finds its weights
    weights = export_network(record, candidate(record, trial), file)
    before = file.read_bytes(), weights.read_bytes()
    logits_of(file, torch.zeros(1, 1, 28, 28, dtype=torch.uint8), "größe @ 1")

    (tmp_path / "taken.py").mkdir()
    with pytest.raises(RequestError, match=r"taken\.py is there and is not a file"):
        export_network(record, candidate(record, trial), tmp_path / "taken.py")
    assert not (tmp_path / "taken.pt").exists()

    (folder / "studies" / "demo" / "artifacts" / trial.weights).write_bytes(b"damaged")
    with pytest.raises(StorageError, match="not those of"):
        export_network(record, candidate(record, trial), file)
    assert (file.read_bytes(), weights.read_bytes()) == before
    assert sorted(path.suffix for path in tmp_path.glob("größe*")) == [".md", ".pt", ".py"]

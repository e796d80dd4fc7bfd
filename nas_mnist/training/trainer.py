"""One network trained in the plainest way, which `pack` must agree with, and what both share."""

import copy
import inspect
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from nas_mnist.errors import DivergedError, RequestError
from nas_mnist.lookup import find
from nas_mnist.networks.architecture import Architecture, build_network
from nas_mnist.networks.layers import INPUT_SHAPE
from nas_mnist.training.datasets import Images, Normalization
from nas_mnist.training.recipe import OPTIMIZERS, Augmentation, Recipe, derived_seed

# Small enough that a layer's maps stay in a core's cache: a quarter less time than at 1,000.
EVALUATION_BATCH = 250


class EpochRecord(NamedTuple):
    """What one epoch did. Accuracies in percent, times in seconds."""

    epoch: int  # from 1
    learning_rate: float  # of the last step
    train_loss: float
    train_accuracy: float  # over the augmented images, as the network changed
    accuracy: float  # on the held-out images, at the end
    seconds: float  # with its evaluation; of networks trained as one, each one's share
    loss: float | None = None  # cross-entropy on the held-out images; None of records without it

    def entry(self, held_out: str) -> dict[str, float]:
        """The record as studies and `--json` keep it; `held_out` names the accuracy, such as
        `val_accuracy`, and so the loss."""
        values = self._asdict()
        values[held_out] = values.pop("accuracy")
        values[held_out.replace("accuracy", "loss")] = values.pop("loss")
        return {name: round(value, 6) for name, value in values.items() if value is not None}

    @classmethod
    def of(cls, entry: Mapping[str, float], held_out: str) -> Self:
        """The record of an `entry`."""
        values = dict(entry)
        loss = values.pop(held_out.replace("accuracy", "loss"), None)
        return cls(accuracy=values.pop(held_out), loss=loss, **values)  # type: ignore[arg-type]


@dataclass(eq=False, repr=False)
class Trainer:
    """Trains `network`, the averaged one if the recipe says so, on images that stay on `device`.

    Iterate over it once: it yields an EpochRecord an epoch, and raises DivergedError when the
    loss is no longer finite. The seed fixes weights, order, augmentation and dropout; torch's
    own generators are left as they were."""

    architecture: Architecture
    recipe: Recipe
    train: Images
    held_out: Images
    _: KW_ONLY
    normalization: Normalization
    seed: int
    device: torch.device
    precision: torch.dtype = torch.float32  # float64 is there to check by

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)  # a name does as well
        self.train = prepared(self.architecture, self.train.to(self.device))
        self.held_out = self.held_out.to(self.device)
        trained = initial_network(self.architecture, self.seed, self.device, self.precision)
        self._trained = trained
        self.network = copy.deepcopy(trained) if self.recipe.average_epochs > 0 else trained

    def __iter__(self) -> Iterator[EpochRecord]:
        recipe, device, network = self.recipe, self.device, self._trained
        behind = network[self.architecture.entry :]
        steps, size = batches_of(len(self.train), recipe)
        rates, shares = recipe.learning_rates(steps), recipe.average_shares(steps)
        optimizer = make_optimizer(recipe, network.parameters(), rates[0])
        for epoch in range(1, recipe.epochs + 1):
            start = time.perf_counter()
            drawn = draw_batches(len(self.train), recipe, self.seed, epoch)
            indices, changes = (tensor.to(device) for tensor in drawn)
            # The device is waited for once, at the end of the epoch.
            losses = torch.zeros(steps, device=device)
            correct = torch.zeros((), dtype=torch.long, device=device)
            network.train()
            with seeded(device, self.seed, epoch):
                for step, done in enumerate(range((epoch - 1) * steps, epoch * steps)):
                    for group in optimizer.param_groups:
                        group["lr"] = rates[done]
                    labels = self.train.labels[indices[step]]
                    images = self.train.images[indices[step]].float() / 255
                    images = augment(images, recipe.augmentation, changes[step])
                    answers = behind(normalized(images, self.normalization, self.precision))
                    smoothing = recipe.label_smoothing
                    loss = functional.cross_entropy(answers, labels, label_smoothing=smoothing)
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    optimizer.step()
                    if self.network is not network:
                        self._follow(shares[done])
                    losses[step] = loss.detach()
                    correct += (answers.detach().argmax(dim=1) == labels).sum()
            mean, right = float(losses.mean()), 100 * int(correct) / (steps * size)
            if error := diverged(mean, epoch, recipe):
                raise error
            held_out, its_loss = judged(self.network, self.held_out, self.normalization)
            seconds, rate = time.perf_counter() - start, rates[epoch * steps - 1]
            yield EpochRecord(epoch, rate, mean, right, held_out, seconds, its_loss)

    @torch.no_grad()
    def _follow(self, share: float) -> None:
        """Move the averages by that share towards weights and running statistics."""
        trained = self._trained.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():  # a norm's count of batches is not
                average.lerp_(trained[name], share)


def make_optimizer(recipe: Recipe, parameters: Iterable[Tensor], rate: float) -> Optimizer:
    """The recipe's optimizer, of torch's kind; RequestError if a user's own does not give one."""
    found: Any = find("--recipe optimizer", recipe.optimizer, OPTIMIZERS)
    settings = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        settings["nesterov"] = recipe.momentum > 0
    try:
        found = getattr(torch.optim, found) if isinstance(found, str) else found
        takes = inspect.signature(found).parameters
        if all(taken.kind is not taken.VAR_KEYWORD for taken in takes.values()):
            settings = {name: value for name, value in settings.items() if name in takes}
        made: Optimizer = found(list(parameters), lr=rate, **settings)
        _ = made.param_groups
        steps = inspect.signature(made.step).parameters.values()
        if any(
            taken.default is taken.empty and taken.kind < taken.VAR_POSITIONAL for taken in steps
        ):
            raise TypeError(
                "its steps need a closure; choose one whose steps do not, such as adamw"
            )
    except Exception as error:  # a user's own may fail in any way
        said = " ".join(str(error).split())
        raise RequestError(f"recipe: optimizer {recipe.optimizer!r}: {said}") from None
    return made


def prepared(architecture: Architecture, images: Images) -> Images:
    """Images to train on as the network's first layers make them, those that come before the
    augmentation (see `Layer.prepares`)."""
    if not (entry := architecture.layers[: architecture.entry]):
        return images
    made = nn.Sequential(*(layer.module(INPUT_SHAPE) for layer in entry))
    parts = (made(part.float()) for part in torch.split(images.images, 1000))
    pixels = [part.round().clamp(0, 255).to(torch.uint8) for part in parts]
    return Images(torch.cat(pixels), images.labels)


def initial_network(
    architecture: Architecture, seed: int, device: torch.device, dtype: torch.dtype
) -> nn.Sequential:
    with seeded(device, seed, 0):
        return build_network(architecture).to(device, dtype)


def batches_of(images: int, recipe: Recipe) -> tuple[int, int]:
    """Steps an epoch, and images a step. A smaller last batch is left out: its few images would
    count more."""
    size = min(recipe.batch_size, images)
    return images // size, size


def draw_batches(images: int, recipe: Recipe, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """An epoch's batches, the same for a seed and an epoch on every device: which images of the
    set, (steps, batch) int64, and how `augment` changes them, (steps, batch, 7), within ±1."""
    steps, size = batches_of(images, recipe)
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    order = torch.randperm(images, generator=generator)[: steps * size]
    changes = torch.rand(steps * size, 7, generator=generator) * 2 - 1
    if epoch > recipe.epochs - recipe.augmentation.plain_epochs:
        changes.zero_()
    return order.view(steps, size), changes.view(steps, size, -1)


@contextmanager
def seeded(device: torch.device, *parts: int) -> Iterator[None]:
    """torch's own generators, seeded and afterwards restored: what is drawn from them within is
    the same whatever runs before or beside it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(derived_seed(*parts))
        yield


def normalized(images: Tensor, normalization: Normalization, kind: torch.dtype) -> Tensor:
    """`images`: from 0 to 1."""
    return ((images - normalization.mean) / normalization.std).to(kind)


def augment(images: Tensor, augmentation: Augmentation, changes: Tensor) -> Tensor:
    """Images each changed in its own way: (batch, channels, height, width) float32, from 0
    (background) to 1. `changes`: (batch, 7), within ±1, the shares of the settings of rotation,
    shear, scale, two shifts, contrast and brightness."""
    if augmentation.rotation or augmentation.shift or augmentation.scale or augmentation.shear:
        maps = _affine_maps(changes, augmentation, images.shape[-1])
        grid = _grid(maps, images.shape[-1])
        images = functional.grid_sample(images, grid, "bilinear", "zeros", align_corners=False)
    contrast, brightness = changes[:, 5:].view(-1, 2, 1, 1, 1).unbind(dim=1)
    if augmentation.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (1 + contrast * augmentation.contrast)
    if augmentation.brightness:
        images = images * (1 + brightness * augmentation.brightness)
    return images.clamp(0, 1) if augmentation.contrast or augmentation.brightness else images


def _affine_maps(changes: Tensor, augmentation: Augmentation, side: int) -> Tensor:
    """Maps from output to input places in `affine_grid`'s units, ±1 from edge to edge:
    (batch, 2, 3). The image turns by a, shears by b along its rows and grows by s, so the map
    is the inverse: [[cos a, sin a], [-sin a, cos a]] · [[1, -tan b], [0, 1]] / s."""
    turn, slant, growth, right, down = changes[:, :5].unbind(dim=1)
    angle = turn * math.radians(augmentation.rotation)
    shear = torch.tan(slant * math.radians(augmentation.shear))
    size = 1 + growth * augmentation.scale
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    shift = 2 * augmentation.shift / side
    first = torch.stack((cosine, sine - cosine * shear, right * shift), dim=1)
    second = torch.stack((-sine, cosine + sine * shear, down * shift), dim=1)
    return torch.stack((first, second), dim=1)


def _grid(maps: Tensor, side: int) -> Tensor:
    """The input places of all pixels, (batch, side, side, 2), as `affine_grid` makes them: its
    small products of matrices took a sixth of the step of a small network."""
    place = (2 * torch.arange(side, device=maps.device) + 1) / side - 1
    by_column, by_row, at = maps[..., None, None].unbind(dim=2)
    return (by_column * place + (by_row * place[:, None] + at)).permute(0, 2, 3, 1)


def evaluation_batch(device: torch.device, views: int) -> int:
    """How many images are evaluated at a time, each in so many views."""
    most = EVALUATION_BATCH if device.type == "cpu" else 10_000
    return most // views


@torch.inference_mode()
def logits(network: nn.Module, images: Images, normalization: Normalization) -> Tensor:
    """Class scores of `images`, not augmented: (n, classes), on their device."""
    network.eval()
    # A copy, for what is saved keeps its layout. So laid, a CPU pools several times faster.
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)
    kind = next(network.parameters()).dtype
    views = getattr([*network.children()][-1], "views", 1)  # what averages them comes last
    batches = torch.split(images.images, evaluation_batch(images.images.device, views))
    inputs = (normalized(batch.float() / 255, normalization, kind) for batch in batches)
    return torch.cat([network(batch) for batch in inputs])


def judged(network: nn.Module, images: Images, normalization: Normalization) -> tuple[float, float]:
    """Percent of `images` that the network, on the same device, classifies correctly, and its mean
    cross-entropy."""
    scores = logits(network, images, normalization)
    right = int((scores.argmax(dim=1) == images.labels).sum())
    return 100 * right / len(images), float(functional.cross_entropy(scores, images.labels))


def accuracy(network: nn.Module, images: Images, normalization: Normalization) -> float:
    """Percent of `images` that the network, on the same device, classifies correctly."""
    return judged(network, images, normalization)[0]


def diverged(loss: float, epoch: int, recipe: Recipe) -> DivergedError | None:
    """What is wrong with an epoch whose loss is not a number."""
    peak = f"peak learning rate {recipe.learning_rate:g}"
    said = f"the loss is {loss} after epoch {epoch} ({peak}); lower the learning rate"
    return None if math.isfinite(loss) else DivergedError(said)

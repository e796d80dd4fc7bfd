"""A trained network as an ONNX file, which other runtimes than torch can run."""

import warnings
from importlib.util import find_spec

import torch
from torch import nn

from nas_mnist.errors import NasMnistError, RequestError
from nas_mnist.networks.architecture import Architecture, format_notation
from nas_mnist.networks.layers import INPUT_SHAPE

_OPSET = 18  # torch writes none older, and runtimes have it since 2023


def check_onnx() -> None:
    """RequestError if the packages that write ONNX are not installed."""
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        said = f"writing ONNX needs {' and '.join(missing)}"
        raise RequestError(f"{said}: pip install 'nas-mnist[onnx]'")


def onnx_bytes(
    network: nn.Module, architecture: Architecture, normalization: tuple[float, float]
) -> bytes:
    """The file's content, weights included: from `images` (batch, 1, 28, 28) float32, normalized
    as for the module, to `logits` (batch, classes), for any batch. Its metadata has the notation,
    and the mean and standard deviation of the pixels. NasMnistError for a layer that torch cannot
    write."""
    check_onnx()
    import onnx

    # A batch of one would be taken for a constant.
    images, sizes = torch.zeros(2, *INPUT_SHAPE), ({0: torch.export.Dim("batch")},)
    names = {"input_names": ["images"], "output_names": ["logits"]}
    try:
        with warnings.catch_warnings():  # torch 2.13 tells itself what it should no longer do
            warnings.simplefilter("ignore", FutureWarning)
            made = torch.onnx.export(
                *(network, (images,)),
                **{**names, "dynamic_shapes": sizes, "opset_version": _OPSET},
                **{"dynamo": True, "verbose": False},
            )
    except torch.onnx.OnnxExporterError as error:
        known = format_notation(architecture)
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise NasMnistError(f"{known} cannot be written as ONNX: {why}") from None
    model = made.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")  # where in torch's own files it came from
    mean, std = map(repr, normalization)
    own = {"notation": format_notation(architecture), "mean": mean, "std": std}
    onnx.helper.set_model_props(model, own)
    return bytes(model.SerializeToString())

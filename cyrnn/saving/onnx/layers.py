"""Layers as ONNX nodes: for each class one function from the layer and the names of its inputs to that of its output.

Whether a layer is one of these, and built, and what becomes of masks behind it, `onnx_export` knows.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn.layers.base.arguments import Array
from cyrnn.saving.onnx.activations import applied, clipped
from cyrnn.saving.onnx.graph import Graph, Tensor

Function = Callable[[Graph, Any, Tensor], str]


def dense(graph: Graph, layer: layers.Dense, x: Tensor) -> str:
    y = graph.node("MatMul", x.name, graph.constant(layer.kernel, name="kernel"))
    y = y if layer.bias is None else graph.node("Add", y, graph.constant(layer.bias, name="bias"))
    return applied(graph, layer.activation, y)


def embedding(graph: Graph, layer: layers.Embedding, x: Tensor) -> str:
    indices = x.name if x.dtype in (np.int32, np.int64) else graph.cast(x.name, np.int64)
    return graph.node("Gather", graph.constant(layer.embeddings, name="embeddings"), indices, axis=0)


def unchanged(graph: Graph, layer: Any, x: Tensor) -> str:
    return x.name


# ---------------------------------------------------------------- activations


def activation(graph: Graph, layer: layers.Activation, x: Tensor) -> str:
    return applied(graph, layer.activation, x.name)


def relu(graph: Graph, layer: layers.ReLU, x: Tensor) -> str:
    most, slope, threshold = layer.max_value, layer.negative_slope, layer.threshold
    if threshold == 0 and most is None:
        return graph.node("LeakyRelu", x.name, alpha=float(slope)) if slope else graph.node("Relu", x.name)
    if most is not None and threshold == 0 and not slope:
        return clipped(graph, x.name, 0, most)
    limit = graph.constant(threshold)
    y = graph.node("Where", graph.node("Greater", x.name, limit), x.name, graph.constant(0))
    y = y if most is None else clipped(graph, y, 0, most)
    if not slope:
        return y
    below = graph.node("Relu", graph.node("Sub", limit, x.name))
    return graph.node("Sub", y, graph.node("Mul", below, graph.constant(slope)))


def leaky_relu(graph: Graph, layer: layers.LeakyReLU, x: Tensor) -> str:
    return graph.node("LeakyRelu", x.name, alpha=float(layer.negative_slope))


def thresholded_relu(graph: Graph, layer: layers.ThresholdedReLU, x: Tensor) -> str:
    return graph.node("ThresholdedRelu", x.name, alpha=float(layer.theta))


def prelu(graph: Graph, layer: layers.PReLU, x: Tensor) -> str:
    return graph.node("PRelu", x.name, graph.constant(layer.alpha, name="alpha"))


def elu(graph: Graph, layer: layers.ELU, x: Tensor) -> str:
    return graph.node("Elu", x.name, alpha=float(layer.alpha))


def softmax(graph: Graph, layer: layers.Softmax, x: Tensor) -> str:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if len(axes) != 1:
        raise ValueError(f"its axis must be one, got {layer.axis!r}")
    return graph.node("Softmax", x.name, axis=axes[0])


# ---------------------------------------------------------------- scales


def _along(values: Array, x: Tensor, axes: Sequence[int]) -> Array:
    """Values for places on some axes, in a shape that broadcasts to x."""
    kept = {axis % len(x.shape) for axis in axes}
    lengths = iter(values.shape)
    return values.reshape([next(lengths) if axis in kept else 1 for axis in range(len(x.shape))])


def batch_normalization(graph: Graph, layer: layers.BatchNormalization, x: Tensor) -> str:
    """With the moving statistics, as in inference."""
    factor = 1 / np.sqrt(layer.moving_variance.astype(np.float64) + layer.epsilon)
    factor = factor if layer.gamma is None else factor * layer.gamma
    centered = graph.node("Sub", x.name, graph.constant(_along(layer.moving_mean, x, [layer.axis])))
    y = graph.node("Mul", centered, graph.constant(_along(factor, x, [layer.axis])))
    return y if layer.beta is None else graph.node("Add", y, graph.constant(_along(layer.beta, x, [layer.axis])))


def layer_normalization(graph: Graph, layer: layers.LayerNormalization, x: Tensor) -> str:
    if graph.opset < 17:
        raise ValueError(f"ONNX has it from opset 17 on, got {graph.opset}")
    if layer.rms_scaling or [axis % len(x.shape) for axis in layer.axes] != [len(x.shape) - 1]:
        raise ValueError("ONNX has it for the last axis, and without rms_scaling")
    gamma = np.ones(x.shape[-1] or 0) if layer.gamma is None else layer.gamma
    beta = [] if layer.beta is None else [graph.constant(layer.beta, name="beta")]
    scale = graph.constant(gamma, name="gamma")
    return graph.node("LayerNormalization", x.name, scale, *beta, axis=-1, epsilon=float(layer.epsilon))


def normalization(graph: Graph, layer: layers.Normalization, x: Tensor) -> str:
    mean, stddev = (graph.constant(_along(values, x, layer.axis)) for values in layer.statistics(x.shape))
    if layer.invert:
        return graph.node("Add", graph.node("Mul", x.name, stddev), mean)
    return graph.node("Div", graph.node("Sub", x.name, mean), stddev)


def rescaling(graph: Graph, layer: layers.Rescaling, x: Tensor) -> str:
    y = graph.node("Mul", x.name, graph.constant(layer.scale))
    return graph.node("Add", y, graph.constant(layer.offset)) if np.any(layer.offset) else y


# ---------------------------------------------------------------- shapes


def flatten(graph: Graph, layer: layers.Flatten, x: Tensor) -> str:
    if layer.data_format == "channels_first" and len(x.shape) > 2:
        raise ValueError("data_format 'channels_first' is not supported")
    if len(x.shape) == 1:
        return graph.unsqueeze(x.name, 1)
    known = [n for n in x.shape[1:] if n is not None]
    return graph.reshape(x.name, 0, math.prod(known) if len(known) == len(x.shape) - 1 else -1)


def reshape(graph: Graph, layer: layers.Reshape, x: Tensor) -> str:
    if 0 in layer.target_shape:
        raise ValueError(f"a target_shape with a length of 0 is not supported, got {layer.target_shape}")
    return graph.reshape(x.name, 0, *layer.target_shape)


def permute(graph: Graph, layer: layers.Permute, x: Tensor) -> str:
    return graph.node("Transpose", x.name, perm=[0, *layer.dims])


def repeat_vector(graph: Graph, layer: layers.RepeatVector, x: Tensor) -> str:
    return graph.node("Expand", graph.unsqueeze(x.name, 1), graph.integers(1, layer.n, 1))


def global_average(graph: Graph, layer: layers.GlobalAveragePooling1D, x: Tensor) -> str:
    axis = layer.steps_axis
    if x.mask is None:
        return graph.reduce("ReduceMean", x.name, [axis], layer.keepdims)
    keep = graph.unsqueeze(x.mask, 3 - axis)
    kept = graph.node("Where", keep, x.name, graph.constant(0))
    total = graph.reduce("ReduceSum", kept, [axis], layer.keepdims)
    return graph.node("Div", total, graph.reduce("ReduceSum", graph.cast(keep, graph.dtype), [axis], layer.keepdims))


def global_max(graph: Graph, layer: layers.GlobalMaxPooling1D, x: Tensor) -> str:
    return graph.reduce("ReduceMax", x.name, [layer.steps_axis], layer.keepdims)


# ---------------------------------------------------------------- layers of several inputs


def _operands(graph: Graph, inputs: Sequence[Tensor]) -> list[str]:
    """Inputs of fewer axes get more behind the batch, as Keras does it."""
    most = max(len(x.shape) for x in inputs)
    return [graph.unsqueeze(x.name, *range(1, most - len(x.shape) + 1)) for x in inputs]


def merged(graph: Graph, layer: Any, inputs: Sequence[Tensor]) -> str:
    """Element by element, from the first to the last."""
    operator = MERGES[type(layer)]
    y, *others = _operands(graph, inputs)
    for other in others:
        y = graph.node(operator, y, other)
    return graph.node("Div", y, graph.constant(len(inputs))) if isinstance(layer, layers.Average) else y


def concatenate(graph: Graph, layer: layers.Concatenate, inputs: Sequence[Tensor]) -> str:
    return graph.node("Concat", *(x.name for x in inputs), axis=layer.axis)


MERGES: dict[type, str] = {
    layers.Add: "Add",
    layers.Average: "Add",
    layers.Subtract: "Sub",
    layers.Multiply: "Mul",
    layers.Maximum: "Max",
    layers.Minimum: "Min",
}
FUNCTIONS: dict[type, Function] = {
    layers.Dense: dense,
    layers.Embedding: embedding,
    layers.Activation: activation,
    layers.ReLU: relu,
    layers.LeakyReLU: leaky_relu,
    layers.ThresholdedReLU: thresholded_relu,
    layers.PReLU: prelu,
    layers.ELU: elu,
    layers.Softmax: softmax,
    layers.BatchNormalization: batch_normalization,
    layers.LayerNormalization: layer_normalization,
    layers.Normalization: normalization,
    layers.Rescaling: rescaling,
    layers.Flatten: flatten,
    layers.Reshape: reshape,
    layers.Permute: permute,
    layers.RepeatVector: repeat_vector,
    layers.GlobalAveragePooling1D: global_average,
    layers.GlobalMaxPooling1D: global_max,
    **dict.fromkeys(
        [
            layers.Dropout,
            layers.SpatialDropout1D,
            layers.GaussianDropout,
            layers.GaussianNoise,
            layers.AlphaDropout,
            layers.ActivityRegularization,
            layers.Identity,
        ],
        unchanged,
    ),
}
# Integers go through these as they are; the others get them as numbers of the layer's dtype.
FOR_INTEGERS = (
    layers.Embedding,
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.RepeatVector,
    layers.Identity,
)

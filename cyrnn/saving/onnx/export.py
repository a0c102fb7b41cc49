"""A model as an ONNX file: the calls of its layers in the order of running, each with its inputs, masks and states."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cyrnn import layers
from cyrnn._version import __version__
from cyrnn.arrays import quietly
from cyrnn.layers import Bidirectional, Embedding, Layer, Masking, TimeDistributed
from cyrnn.layers.around.merging import Merge
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.recurrent.rnn import RNN
from cyrnn.models.executor import Step
from cyrnn.models.functional import Functional
from cyrnn.models.graph import Graph as CallGraph
from cyrnn.models.sequential import Sequential
from cyrnn.saving.atomic import written_at_once
from cyrnn.saving.onnx import layers as onnx_layers
from cyrnn.saving.onnx import operations as onnx_operations
from cyrnn.saving.onnx import recurrent as onnx_recurrent
from cyrnn.saving.onnx.checks import MERGING, Refusal, check_masks, checked_dtype, checked_kind, refused
from cyrnn.saving.onnx.graph import Graph, Tensor, needed
from cyrnn.saving.onnx.inputs import described, inputs_of

OLDEST_OPSET, DEFAULT_OPSET = 14, 17


@dataclass(frozen=True)
class Call:
    """One call of a layer: tensors for its inputs, alone or in a list, and its initial states; and what is given on."""

    inputs: Any
    states: Sequence[Tensor] = ()
    mask: Any = None  # the name of the one that the layer behind gets, or for several inputs a list
    told: bool = True  # whether the layer itself gets it too


@quietly
def export_onnx(
    model: Layer, path: str | os.PathLike[str], *, opset: int = DEFAULT_OPSET, masks: str | None = None
) -> None:
    """Write a model with its weights as an ONNX file, for inference. Needs the package onnx.

    Recurrent layers become RNN, LSTM and GRU operators. Inputs and outputs have the names, shapes and dtypes of the
    model's. A float64 model is written in double, which ONNX allows and many runtimes (ONNX Runtime among them) cannot
    run.

    Parameters
    ----------
    model : Layer
        A built Sequential or Model of layers of this package, or one such layer.
    path : str or os.PathLike
        The file to write; it appears whole or not at all.
    opset : int
        The version of ONNX's operators, from 14 on.
    masks : {"right-padded"}, optional
        None refuses layers that make masks, since these operators know lengths and no masks. "right-padded" says that
        in your data all that a mask leaves out is at the end of its sequence; a sequence with holes or padding in
        front gives NaN then.

    Raises
    ------
    ValueError
        It names the layer, for what ONNX cannot say: stateful layers, other activations in a recurrent layer than ONNX
        has there, classes of your own, 16-bit dtypes, layers that are not built or not known here.
    TypeError
        The model is not a layer.
    OSError
        The file cannot be written.
    ImportError
        There is no onnx.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer or model of cyrnn, got {type(model).__name__}")
    if masks not in (None, "right-padded"):
        raise ValueError(f"masks must be None or 'right-padded', got {masks!r}")
    onnx = needed_onnx()
    newest = onnx.defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int) or not OLDEST_OPSET <= opset <= newest:
        raise ValueError(f"opset must be an integer from {OLDEST_OPSET} to {newest}, got {opset!r}")
    content = _written(onnx, model, opset, masks).SerializeToString()
    with written_at_once(path) as stream:
        stream.write(content)


def needed_onnx() -> Any:
    """The package onnx. Raises ImportError that says where it comes from."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("ONNX files need the package onnx: pip install 'cyrnn[onnx]'") from error
    return onnx


def _written(onnx: Any, model: Layer, opset: int, masks: str | None) -> Any:
    graph = Graph(opset, checked_dtype(model), masks)
    checked_kind(model)
    inputs = inputs_of(graph, model)
    structure = _structure(model, inputs)
    results = _called(graph, model, Call(structure, mask=_masks(structure)))
    names = model.output_names if isinstance(model, Functional) else [model.name] * len(results)
    outputs = [replace(x, name=graph.new_name(name)) for name, x in zip(names, results, strict=True)]
    helper = onnx.helper
    for x, output in zip(results, outputs, strict=True):
        node_name = graph.new_name(f"{output.name}/Identity")
        graph.nodes.append(helper.make_node("Identity", [x.name], [output.name], node_name))
    faces = [[described(helper, x, inputs) for x in part] for part in (inputs, outputs)]
    nodes = needed(graph.nodes, [x.name for x in outputs])
    used = {name for node in nodes for name in node.input}
    constants = [constant for constant in graph.constants if constant.name in used]
    whole = helper.make_graph(nodes, model.name, *faces, constants)
    versions = [helper.make_opsetid("", opset)]
    made = helper.make_model(
        whole,
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="cyrnn",
        producer_version=__version__,
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def _structure(model: Any, inputs: list[Tensor]) -> Any:
    return nest.filled(model.input, inputs) if isinstance(model, Functional) else inputs[0]


# ---------------------------------------------------------------- one call after the other


def _called(graph: Graph, layer: Any, call: Call) -> list[Tensor]:
    """What the layer returns, flat, each with the mask that goes on behind it."""
    kind = checked_kind(layer)
    with graph.part(layer.name):
        if isinstance(layer, Sequential):
            pairs = zip(nest.leaves(call.inputs), _flat(call), strict=True)
            results = [replace(x, mask=mask) for x, mask in pairs]
            for inner in layer.layers:
                given = results[0] if len(results) == 1 else results
                results = _called(graph, inner, Call(given, mask=_masks(given)))
            return results
        if isinstance(layer, Functional):
            return _functional(graph, layer, call)
        try:
            return _results(graph, layer, kind, call)
        except ValueError as error:
            raise error if isinstance(error, Refusal) else refused(layer, str(error)) from None


def _results(graph: Graph, layer: Any, kind: type, call: Call) -> list[Tensor]:
    inputs = nest.mapped(lambda x: _in_dtype(graph, kind, call, x), call.inputs)
    if kind not in MERGING and not isinstance(inputs, Tensor):
        raise ValueError(f"it must have one input, got {len(nest.leaves(inputs))}")
    mask = call.mask if call.told else None
    shape = nest.mapped(lambda x: x.shape, inputs)
    dtype = graph.dtype
    if kind is Masking or (kind is Embedding and layer.mask_zero):
        check_masks(graph)
    if issubclass(kind, (RNN, Bidirectional)):
        if len(inputs.shape) != 3:
            raise ValueError(f"its input must have shape (batch, timesteps, features), got {inputs.shape}")
        recurrent = onnx_recurrent.rnn if issubclass(kind, RNN) else onnx_recurrent.bidirectional
        names: list[str] = recurrent(graph, layer, inputs, mask, call.states)
    elif kind is Masking:
        name, keep = onnx_operations.masked(graph, layer, inputs)
        return [Tensor(name, inputs.shape, dtype, keep)]
    elif kind is TimeDistributed:
        names = [_at_each_timestep(graph, layer, inputs, mask)]
    elif kind in MERGING:
        if kind not in (layers.Concatenate, layers.Add, layers.Subtract, layers.Average) and any(nest.leaves(mask)):
            raise ValueError("masks change what it computes, and that is not supported")
        function = onnx_layers.concatenate if kind is layers.Concatenate else onnx_layers.merged
        names = [function(graph, layer, list(inputs))]
        dtype = inputs[0].dtype
    else:
        if kind is layers.Softmax and mask is not None:
            raise ValueError("a mask changes what it computes, and that is not supported")
        names = [onnx_layers.FUNCTIONS[kind](graph, layer, replace(inputs, mask=mask))]
        dtype = inputs.dtype if kind in onnx_layers.FOR_INTEGERS and kind is not Embedding else dtype
    shapes: list[Shape] = []
    nest.mapped_shapes(shapes.append, layer.compute_output_shape(shape))
    behind = _mask_behind(graph, layer, kind, inputs, call.mask)
    masks = nest.leaves(behind) + [None] * len(shapes)
    return [Tensor(name, shape, dtype, keep) for name, shape, keep in zip(names, shapes, masks, strict=False)]


def _in_dtype(graph: Graph, kind: type, call: Call, x: Tensor) -> Tensor:
    """The input as the layer takes it: integers as they are, or as numbers."""
    whole = all(part.dtype.kind in "iub" for part in nest.leaves(call.inputs))
    if whole and (kind in onnx_layers.FOR_INTEGERS or kind in (layers.Concatenate, TimeDistributed)):
        return x
    return replace(x, name=graph.in_dtype(x), dtype=graph.dtype) if kind is not Embedding else x


def _at_each_timestep(graph: Graph, layer: TimeDistributed, x: Tensor, mask: str | None) -> str:
    """The inner layer over all timesteps of all sequences at once: rows of a batch do not know of each other."""
    inner: Any = layer.layer
    if mask is not None and not isinstance(inner, (layers.Dense, layers.Activation, layers.Dropout)):
        raise ValueError(f"with a mask it must apply a Dense, Activation or Dropout, not a {type(inner).__name__}")
    if type(inner) in (layers.Dense, layers.Activation, layers.Dropout):
        return _called(graph, inner, Call(replace(x, name=graph.in_dtype(x), dtype=graph.dtype)))[0].name
    rest = x.shape[2:]
    if None in rest:
        raise ValueError(f"all axes of its input but the first two must be known, got {x.shape}")
    rows = Tensor(graph.reshape(x.name, -1, *rest), (None, *rest), x.dtype)  # type: ignore[arg-type]
    results = _called(graph, inner, Call(rows))
    if len(results) != 1 or None in results[0].shape[1:]:
        raise ValueError(f"layer {inner.name!r} in it must give one output of known axes")
    leading = graph.node("Slice", graph.node("Shape", x.name), graph.integers(0), graph.integers(2))
    behind = graph.node("Concat", leading, graph.integers(*results[0].shape[1:]), axis=0)  # type: ignore[arg-type]
    return graph.node("Reshape", results[0].name, behind)


def _functional(graph: Graph, model: Functional, call: Call) -> list[Tensor]:
    values: dict[KerasTensor, Tensor] = {}
    for tensor, x, mask in zip(model.inputs, nest.leaves(call.inputs), _flat(call), strict=True):
        name = x.name if x.dtype == np.dtype(tensor.dtype) else graph.cast(x.name, tensor.dtype)
        values[tensor] = Tensor(name, tensor.shape, np.dtype(tensor.dtype), mask)

    def filled(leaf: Any) -> Any:
        return values[leaf] if type(leaf) is KerasTensor else leaf

    for node in CallGraph(model.inputs, model.outputs).nodes:
        if not node.inputs:
            continue
        if isinstance(node.layer, Layer):
            results = _called(graph, node.layer, _call_of(graph, Step(node), filled))
        else:
            results = _operated(graph, node, filled)
        values.update(zip(node.outputs, results, strict=True))
    return [values[tensor] for tensor in model.outputs]


def _flat(call: Call) -> list[str | None]:
    return nest.leaves(call.mask) if call.mask is not None else [None] * len(nest.leaves(call.inputs))


def _operated(graph: Graph, node: Any, filled: Any) -> list[Tensor]:
    args, kwargs = nest.mapped(filled, list(node.args)), nest.mapped(filled, node.kwargs)
    try:
        name = onnx_operations.operation(graph, node.layer, args, kwargs)
    except ValueError as error:
        raise refused(node.layer, str(error)) from None
    (output,) = node.outputs
    return [Tensor(name, output.shape, np.dtype(output.dtype))]


def _call_of(graph: Graph, step: Step, filled: Any) -> Call:
    """The call of a layer in a graph; arguments that ONNX has no place for are refused."""
    layer, args = step.layer, step.node.args
    if step.training:
        raise refused(layer, "it is called with training=True, and ONNX files are for inference")
    inputs = nest.mapped(filled, args[0])
    states = [step.options["initial_state"]] if "initial_state" in step.options else list(args[1:])
    others = step.options.keys() - {"initial_state"}
    if others or (states and not isinstance(layer, (RNN, Bidirectional))):
        raise refused(layer, f"it is called with more than its inputs, {sorted(others) or len(args)}")
    begins = [filled(leaf) for leaf in nest.leaves(states) if leaf is not None]
    if not all(isinstance(x, Tensor) for x in [*begins, *nest.leaves(inputs)]):
        raise refused(layer, "it is called with an array that is part of the model")
    begins = [replace(x, name=graph.in_dtype(x), dtype=graph.dtype) for x in begins]
    mask = _masks(inputs)
    if step.mask is not None:
        try:
            check_masks(graph)
        except ValueError as error:
            raise refused(layer, f"it is called with a mask. {error}") from None
        mask = nest.mapped(lambda leaf: None if leaf is None else filled(leaf).name, step.mask)
    return Call(inputs, begins, mask, told=step.alone or step.mask is not None)


# ---------------------------------------------------------------- masks


def _masks(inputs: Any) -> Any:
    """The mask of each input."""
    return nest.mapped(lambda x: x.mask, inputs)


def _mask_behind(graph: Graph, layer: Any, kind: type, inputs: Any, mask: Any) -> Any:
    """The mask for the layer behind, or of each output in a list."""
    if kind is Embedding:
        return onnx_operations.mask_of_indices(graph, layer, inputs) if layer.mask_zero else None
    if mask is None or not any(nest.leaves(mask)) or not layer.supports_masking:
        return None
    if issubclass(kind, Merge):
        if kind is layers.Concatenate and layer.axis % len(inputs[0].shape) != len(inputs[0].shape) - 1:
            raise ValueError("with masks it must be along the last axis")
        return onnx_operations.either(graph, mask)
    if issubclass(kind, (RNN, Bidirectional)):
        return layer.compute_mask(None, mask)
    return None if kind is layers.GlobalAveragePooling1D else mask

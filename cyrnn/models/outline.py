"""A model's layers in a table, also of one that cannot run here: then the config alone says what they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cyrnn import budget
from cyrnn.layers.around.core import InputLayer
from cyrnn.layers.base import legacy_config, nest
from cyrnn.layers.base.arguments import checked_shapes, size_of
from cyrnn.layers.base.building import deferred_building
from cyrnn.layers.base.layer import Layer
from cyrnn.models import call_config, functional_config
from cyrnn.models.model import ModelOfLayers
from cyrnn.models.sequential import Sequential
from cyrnn.saving.errors import CAUSED_BY_CONTENTS
from cyrnn.saving.weight_paths import places


@dataclass
class Line:
    """A layer: what is None is not known. `inputs` are the layers it is connected to, in a graph of them."""

    name: str
    class_name: str
    shape: Any = None
    parameters: int | None = None
    dtype: str = ""
    inputs: list[str] = field(default_factory=list)
    refusal: str | None = None  # why it cannot run here


def outline(envelope: Mapping[str, Any], model: ModelOfLayers | None = None) -> list[Line]:
    """A line for each layer of a config, of the model if it could be made; none without layers."""
    entries = _entries(envelope)
    inputs = {_name(entry): _inputs(entry) for entry in entries}
    if model is None:
        with budget.limited():
            return _of_config(entries, inputs)
    if isinstance(model, Sequential):
        begin = Line("input", "Input", model.input_shape, 0)
        shapes = model.output_shapes_of_layers()
        return [begin, *(_of_layer(layer, shape) for layer, shape in zip(model.layers, shapes, strict=True))]
    stored, classes = _stored_shapes(entries), {_name(entry): str(entry.get("class_name")) for entry in entries}
    shapes_of = dict(zip(model.layers, model.output_shapes_of_layers(), strict=True))
    lines = []
    for operation in getattr(model, "operations", model.layers):
        if operation in shapes_of:
            line = _of_layer(operation, shapes_of[operation])
        else:
            name = operation.name
            line = Line(name, classes.get(name, type(operation).__name__), stored.get(name), 0)
        line.inputs = inputs.get(line.name, [])
        lines.append(line)
    return lines


def _of_layer(layer: Layer, shape: Any) -> Line:
    dtype = layer.dtype if isinstance(layer, InputLayer) else layer.dtype_policy.name
    return Line(layer.name, type(layer).__name__, shape, layer.count_params(), dtype)


# ------------------------------------------------------------ from the config alone


def _entries(envelope: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of the layers, without what cannot be one."""
    try:
        config = legacy_config.modern(str(envelope.get("class_name")), envelope.get("config"))[0]
    except ValueError:
        return []
    entries = config.get("layers")
    return [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, (list, tuple)) else []


def _of_config(entries: list[Mapping[str, Any]], inputs: dict[str, list[str]]) -> list[Line]:
    """Each layer is made, not built, to see whether it can be; its shapes are those in the config."""
    stored = _stored_shapes(entries)
    in_a_row = not any(inputs.values())
    lines: list[Line] = []
    before: Any = None  # the shape that a layer in a row gets
    for entry in entries:
        name = _name(entry)
        line = Line(name, str(entry.get("class_name")), dtype=_dtype(entry), inputs=inputs[name])
        layer = None
        try:
            with deferred_building():
                layer = functional_config.layer_of(entry, name)
        except CAUSED_BY_CONTENTS as error:  # the other layers are shown all the same
            text = str(error) or type(error).__name__
            line.refusal = text if repr(name) in text else f"layer {name!r}: {text}"
        build_config = entry.get("build_config")
        if isinstance(build_config, Mapping) and build_config.get("input_shape") is not None:
            before = build_config["input_shape"]
            if in_a_row and lines and lines[-1].shape is None:
                lines[-1].shape = _shape(before)
        elif not in_a_row:
            before = next((stored[name] for name in line.inputs if name in stored), None)
        _describe(line, layer, before)
        line.shape = before = line.shape if line.shape is not None else stored.get(name)
        lines.append(line)
    return lines


def _describe(line: Line, layer: object, input_shape: Any) -> None:
    """Fill in the output shape and the parameters of a layer that was made, as far as its input's shape is known."""
    if not isinstance(layer, Layer):
        line.parameters = 0 if layer is not None else None
        return
    line.class_name = type(layer).__name__
    try:
        with deferred_building():
            if isinstance(layer, InputLayer):
                line.shape, line.parameters = layer.batch_shape, 0
            elif input_shape is not None:
                shape = _shape(input_shape)
                specs = [spec for place in places(layer, shape) for spec in place.specs]
                line.parameters = sum(size_of(spec.shape) for spec in specs)
                line.shape = layer.compute_output_shape(shape)
    except CAUSED_BY_CONTENTS:  # it stays unknown
        return


def _stored_shapes(entries: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The shapes of first outputs, as calls in Keras 3's form have them; and those of inputs."""
    shapes: dict[str, Any] = {}
    pending: list[Any] = [entry.get("inbound_nodes") for entry in entries]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping) and part.get("class_name") == "__keras_tensor__":
            config = part.get("config")
            history = config.get("keras_history") if isinstance(config, Mapping) else None
            shape = config.get("shape") if isinstance(config, Mapping) else None
            if isinstance(history, list) and len(history) == 3 and isinstance(history[0], str) and history[2] == 0:
                shapes.setdefault(history[0], _shape(shape) if nest.is_shape(shape) else None)
        elif nest.is_structure(part):
            pending += part.values() if isinstance(part, Mapping) else part
    for entry in entries:
        config = entry.get("config")
        shape = config.get("batch_shape", config.get("batch_input_shape")) if isinstance(config, Mapping) else None
        if entry.get("class_name") == "InputLayer" and nest.is_shape(shape):
            shapes[_name(entry)] = _shape(shape)
    return shapes


def _inputs(entry: Mapping[str, Any]) -> list[str]:
    """The names of the layers whose outputs the calls of a layer take, each once."""
    nodes = entry.get("inbound_nodes")
    names: dict[str, None] = {}
    for node in nodes if isinstance(nodes, (list, tuple)) else []:
        try:
            if isinstance(node, Mapping):
                read: Any = [call_config.read(node.get(key)) for key in ("args", "kwargs")]
            else:
                read = call_config.read_old(node)
        except CAUSED_BY_CONTENTS:  # making the model says what is wrong with the call
            continue
        found = (leaf for leaf in nest.leaves(read) if isinstance(leaf, call_config.Reference))
        names |= dict.fromkeys(reference.layer for reference in found)
    return list(names)


def _name(entry: Mapping[str, Any]) -> str:
    config = entry.get("config")
    inner = config.get("name") if isinstance(config, Mapping) else None
    return str(entry.get("name", inner))


def _dtype(entry: Mapping[str, Any]) -> str:
    config = entry.get("config")
    dtype = config.get("dtype") if isinstance(config, Mapping) else None
    if isinstance(dtype, Mapping):  # a policy
        inner = dtype.get("config")
        dtype = inner.get("name") if isinstance(inner, Mapping) else None
    return dtype if isinstance(dtype, str) else ""


def _shape(shape: Any) -> Any:
    """Shapes as tuples, also several of them; None where it is no shape."""
    try:
        return checked_shapes("shape", shape)
    except (ValueError, RecursionError):
        return None

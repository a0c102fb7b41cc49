"""The inputs and outputs of a model as ONNX has them: names, dtypes, and shapes whose unknown lengths have names."""

from typing import Any

import numpy as np

from cyrnn.dtypes import TEXT
from cyrnn.layers import Embedding
from cyrnn.layers.base import nest
from cyrnn.models.functional import Functional
from cyrnn.models.sequential import Sequential
from cyrnn.saving.onnx.checks import refused
from cyrnn.saving.onnx.graph import Graph, Tensor


def inputs_of(graph: Graph, model: Any) -> list[Tensor]:
    """The inputs of the model, of its own names, shapes and dtypes."""
    if isinstance(model, Functional):
        found = [(name, x.shape, x.dtype) for name, x in zip(model.input_names, model.inputs, strict=True)]
    else:
        name, dtype = "inputs", "int64" if _takes_indices(model) else graph.dtype.name
        first = model.get_config()["layers"][0] if isinstance(model, Sequential) else {}
        if first.get("class_name") == "InputLayer":
            name, dtype = first["config"]["name"], first["config"]["dtype"]
        shape: Any = model.input_shape if isinstance(model, Sequential) else None
        shape = shape or (model.get_build_config() or {}).get("input_shape") or ()
        if not shape or not nest.is_shape(shape):
            raise refused(model, "alone it must have one input; make it a part of a Model")
        found = [(name, shape, dtype)]
    of_text = [name for name, _, dtype in found if dtype == TEXT]
    if of_text:
        raise refused(model, f"its input {of_text[0]!r} is text; export the layers that follow those of text")
    return [Tensor(graph.new_name(name), tuple(shape), np.dtype(dtype)) for name, shape, dtype in found]


def _takes_indices(model: Any) -> bool:
    while isinstance(model, Sequential) and model.layers:
        model = model.layers[0]
    return isinstance(model, Embedding)


def described(helper: Any, x: Tensor, inputs: list[Tensor]) -> Any:
    """Name, dtype and shape for ONNX, where an axis of any length has a name."""
    prefix = "" if len(inputs) == 1 else f"{x.name}_"
    lengths = ["batch" if n is None and axis == 0 else n for axis, n in enumerate(x.shape)]
    if x in inputs:
        words = {1: f"{prefix}timesteps"}
        lengths = [words.get(axis, f"{prefix}axis_{axis}") if n is None else n for axis, n in enumerate(lengths)]
    return helper.make_tensor_value_info(x.name, helper.np_dtype_to_tensor_dtype(x.dtype), lengths)

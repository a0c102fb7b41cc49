"""The base of layers that make numbers of categories: nothing in them is trained, and no gradient goes through."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy as np

from cyrnn.arrays import to_numpy
from cyrnn.dtypes import TEXT, numpy_dtype
from cyrnn.layers.base import symbolic
from cyrnn.layers.base.arguments import Array, as_array
from cyrnn.layers.base.config import LayerOptions
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.pullback import Input, Pullback, PullbackThrough
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.text.strings import text_array


class Categorical(Layer):
    """Base: a layer without weights, whose inputs may be text."""

    takes_text: ClassVar[bool] = False

    def __init__(self, **kwargs: Unpack[LayerOptions]) -> None:
        super().__init__(**kwargs)
        self.built = True

    def checked_inputs(self, inputs: Any) -> Array:
        if self.takes_text:
            return text_array("inputs", inputs)
        return as_array(
            "inputs", to_numpy("inputs", inputs) if isinstance(inputs, (list, tuple, int, float)) else inputs
        )

    @property
    def input_dtype(self) -> str:
        """The name of the dtype of inputs."""
        return TEXT if self.takes_text else "float32"

    @property
    def compute_dtype(self) -> str:
        return self.input_dtype

    @property
    def result_dtype(self) -> str:
        """The name of the dtype of outputs."""
        return self.dtype_policy.compute_dtype.name

    @property
    def output_dtype(self) -> np.dtype[Any]:
        return numpy_dtype(self.result_dtype)

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        shape = symbolic.shapes_of(inputs)
        self.check_input_count(shape)
        return KerasTensor(self.compute_output_shape(shape), self.result_dtype)

    def build(self, input_shape: Sequence[int | None], *others: Any) -> None:
        """Nothing to do: there are no weights."""

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Pullback]:
        self._check_no_override()
        given = self.checked_inputs(x)
        outputs = self(x)
        return outputs, PullbackThrough(_nothing, outputs, Input.of("x", given), [], [], "float32")

    def described(self) -> dict[str, Any]:
        return {}


def _nothing(gradients: Any, losses: bool) -> tuple[dict[Any, Array], dict[Any, Array]]:
    return {}, {}

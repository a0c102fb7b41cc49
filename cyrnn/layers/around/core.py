"""Input and Dense. Reference: Keras 3."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict, Unpack

from numpy.typing import DTypeLike

from cyrnn import activations, constraints, dtypes, initializers, notices, objects, regularizers
from cyrnn.layers.base import symbolic
from cyrnn.layers.base.arguments import Array, Shape, checked_int, checked_shape, known_axis
from cyrnn.layers.base.config import QuantizableOptions
from cyrnn.layers.base.engine_layer import EngineLayer, dense_program
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.programs.lowering import Lowering
from cyrnn.layers.base.programs.refusals import NotLoweredError
from cyrnn.layers.base.programs.values import Symbolic, Value
from cyrnn.layers.base.symbolic import KerasTensor
from cyrnn.layers.base.weights import Weight, WeightSpec


class InputOptions(TypedDict, total=False):
    """Arguments of `InputLayer` that are passed by keyword."""

    dtype: DTypeLike | None
    sparse: bool | None
    ragged: bool | None
    batch_shape: Sequence[int | None] | None
    name: str | None
    optional: bool
    input_shape: Sequence[int | None]
    batch_input_shape: Sequence[int | None]


@objects.register("keras.layers")
class InputLayer(Layer):
    """An input of a model: its shape and dtype.

    Parameters
    ----------
    shape : tuple of int and None, optional
        The shape without the batch axis; None stands for any length. Either this or `batch_shape` is needed.
    batch_size : int, optional
        The length of the batch axis, with `shape`.
    dtype : str or type, optional
        The dtype of numbers that arrays are converted to, default "float32": a name of Keras, or a type of Python or
        NumPy. Integers of any width stay as they are for an integer dtype. With "string" the input is text, for layers
        such as `TextVectorization`.
    sparse, ragged : bool, optional
        Only False is supported.
    batch_shape : tuple of int and None, optional
        The shape with the batch axis.
    name : str, optional
        The name of the input.
    optional : bool
        Whether None may be passed for the input.
    input_shape, batch_input_shape : tuple of int and None, optional
        Older names of `shape` and `batch_shape`, by keyword alone.

    Raises
    ------
    ValueError
        For both or none of `shape` and `batch_shape`, for other values of these, for sparse or ragged inputs, and for
        dtypes of which no layer could take arrays, as "object".
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: DTypeLike | None = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        optional: bool = False,
        **kwargs: Any,
    ) -> None:
        shape = _renamed(kwargs, "input_shape", "shape", shape)
        batch_shape = _renamed(kwargs, "batch_input_shape", "batch_shape", batch_shape)
        if kwargs:
            raise TypeError(f"{type(self).__name__} takes no arguments {', '.join(map(repr, sorted(kwargs)))}")
        if (shape is None) == (batch_shape is None):
            raise ValueError(
                f"give shape or batch_shape, one of them; got shape={shape!r}, batch_shape={batch_shape!r}"
            )
        if sparse or ragged:
            raise ValueError("sparse and ragged inputs are not supported")
        if batch_shape is not None and batch_size is not None:
            raise ValueError(f"give batch_size or batch_shape, one of them; got {batch_size!r} and {batch_shape!r}")
        super().__init__(name=name)
        if isinstance(shape, (list, tuple)):
            batch_shape = (batch_size, *shape)
        self.batch_shape = checked_shape("shape", shape if batch_shape is None else batch_shape)
        self._dtype = dtypes.checked_input(f"dtype of input {self.name!r}", dtypes.floatx() if dtype is None else dtype)
        self.optional = bool(optional)
        self.built = True
        symbolic.Node(self, (), {}, KerasTensor(self.batch_shape, self.dtype, self.name))

    @property
    def shape(self) -> Shape:
        """The input's shape, batch axis first."""
        return self.batch_shape

    @property
    def dtype(self) -> str:
        """The name of the inputs' dtype."""
        return self._dtype

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": list(self.batch_shape),
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": self.optional,
        }

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)  # with its tensor


def _renamed(kwargs: dict[str, Any], old: str, new: str, value: Any) -> Any:
    """The value of an argument, which `kwargs` may have under its older name instead. Raises ValueError for both."""
    given = kwargs.pop(old, None)
    if given is None:
        return value
    if value is not None:
        raise ValueError(f"give {new} or {old}, one of them; got {value!r} and {given!r}")
    notices.warn(f"{old} is deprecated: its name is {new}")
    return given


def Input(
    shape: Sequence[int | None] | None = None, batch_size: int | None = None, **kwargs: Unpack[InputOptions]
) -> KerasTensor:
    """The input of a model, as a symbolic tensor: ``Input((timesteps, features))``.

    Call layers with it, and make a `cyrnn.Model` of it and their outputs; or begin a `Sequential` with it.

    Parameters
    ----------
    shape, batch_size, **kwargs
        Arguments of `InputLayer`.

    Returns
    -------
    KerasTensor
        Shape, dtype and name; it has no values.

    Raises
    ------
    ValueError
        As `InputLayer` does.
    """
    tensor: KerasTensor = InputLayer(shape, batch_size, **kwargs).output
    return tensor


@objects.register("keras.layers")
class Dense(ProgramLayer, EngineLayer):
    """``activation(x . kernel + bias)`` along the last axis: (batch, ..., features) -> (batch, ..., units).

    Its weights, once built, are `kernel` (features, units) and `bias` (units,), which is None without a bias.

    Parameters
    ----------
    units : int
        The length of the last axis of the output.
    activation : str or callable, optional
        Default None: linear.
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint
        Those of the weights: a name, config, or callable.
    activity_regularizer : str, dict or callable, optional
        The penalty on the output, in `losses`.
    lora_rank, lora_alpha
        Only None is supported.
    **kwargs
        Arguments of `Layer`: `name`, `dtype`, `trainable`.

    Raises
    ------
    ValueError
        For other arguments. A call raises it for inputs of other features than those of the kernel.

    Examples
    --------
    >>> cyrnn.layers.Dense(4)(np.zeros((2, 5, 3))).shape
    (2, 5, 4)
    """

    supports_masking = True
    kernel = Weight()
    bias = Weight()

    _made_from: ClassVar = {**ProgramLayer._made_from, "activation": activations.get}
    may_have_logits = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        **kwargs: Unpack[QuantizableOptions],
    ) -> None:
        refuse_lora(lora_rank, lora_alpha)
        refuse_quantization(kwargs)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = checked_size("units", units)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        if len(input_shape) < 2:
            expected = f"(batch, ..., {', '.join(map(str, input_shape)) or 'features'})"
            raise ValueError(f"inputs of {self.name!r} must have shape {expected}, got {input_shape}")
        features = known_axis(self.name, input_shape, -1)
        kernel = WeightSpec(
            "kernel",
            (features, self.units),
            self.kernel_initializer,
            self.kernel_regularizer,
            self.kernel_constraint,
        )
        bias = WeightSpec("bias", (self.units,), self.bias_initializer, self.bias_regularizer, self.bias_constraint)
        return [kernel, bias] if self.use_bias else [kernel]

    def call(self, inputs: Array, mask: Any = None, training: bool = False) -> Array:
        features, units = self.kernel.shape
        if inputs.ndim < 2 or inputs.shape[-1] != features:
            raise ValueError(f"inputs of {self.name!r} must have shape (batch, ..., {features}), got {inputs.shape}")
        program = dense_program(self.dtype_policy.engine_dtype.name, features, units)
        rows = inputs.reshape(math.prod(inputs.shape[:-1]), features)
        outputs = self.run_program(program, rows).reshape(*inputs.shape[:-1], units)
        return self.returned(self.activated(outputs))

    @property
    def rounds_as_numpy(self) -> bool:
        return False  # its call runs a program too

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        if activations.engine_name(self.activation) is not None or type(self)._override is not None:
            return super().vjp(x, initial_state, mask, training)
        from cyrnn.layers.around.python_gradients import of_dense

        return of_dense(self, x, mask, training)

    def lower(self, lowering: Lowering, inputs: Symbolic, mask: Any = None, training: bool = False) -> Value:
        """Add the op; where a timestep has several axes, it takes the rows of features one after the other."""
        if activations.engine_name(self.activation) is None:
            raise NotLoweredError(f"its activation {self.activation!r:.100} is a custom one")
        shape, features = lowering.shape_of(inputs), self.kernel.shape[0]
        if len(shape) < 2 or shape[-1] != features:
            raise NotLoweredError(f"its kernel takes {features} features, and its input has the shape {shape}")
        x = lowering.numbers(inputs)
        out = lowering.buffer((*shape[:-1], self.units), x.timeline)
        sums = lowering.note_logits(activations.engine_name(self.activation) or "", out)
        kept = {} if sums is None else {"sums": sums.view}
        lowering.program.dense(lowering.slot(self), x.view, out.view, out.width // self.units, **kept)
        return out

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return (*tuple(input_shape)[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }


def checked_size(name: str, value: Any) -> int:
    """A positive int. Raises ValueError for everything else, as these layers of Keras do."""
    try:
        return checked_int(name, value)
    except TypeError as error:
        raise ValueError(str(error)) from None


def refuse_lora(lora_rank: int | None, lora_alpha: float | None) -> None:
    """Raises ValueError unless both of Keras' arguments for LoRA are None."""
    if lora_rank is not None or lora_alpha is not None:
        raise ValueError("lora_rank and lora_alpha are not supported: merge the LoRA weights before saving")


def refuse_quantization(kwargs: Any) -> None:
    """Take Keras' `quantization_config` out of `kwargs`. Raises ValueError unless it is None."""
    if kwargs.pop("quantization_config", None) is not None:
        raise ValueError("quantized layers are not supported")

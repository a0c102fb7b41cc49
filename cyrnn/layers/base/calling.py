"""How a layer is called, with arrays and with symbolic tensors, and what a call leaves: masks and losses."""

import functools
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import activations, notices, objects
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array, as_array, as_mask, is_true
from cyrnn.layers.base.array_functions import shape_found
from cyrnn.layers.base.building import Buildable, deferred_building
from cyrnn.layers.base.carried import carried_states, put_back
from cyrnn.layers.base.memory import owned
from cyrnn.layers.base.samples.taken import TakesLengths
from cyrnn.layers.base.signatures import accepted, names_of, required_arguments
from cyrnn.layers.base.symbolic import KerasTensor


class NotesCalls(Protocol):
    """A model of layers in a row, which notes their symbolic calls when these are asked for."""

    def note_calls(self) -> None: ...


class CallableLayer(TakesLengths, Buildable):
    """A layer as a function of arrays and of symbolic tensors."""

    # Whether a mask is passed on, as `compute_mask` says; else it ends here, with a warning. Custom layers pass masks
    # on if they have a `compute_mask`.
    supports_masking: bool = False

    keeps_training_open: ClassVar[bool] = False  # whether a call's `training` may be None
    lowers_timesteps: ClassVar[bool] = False  # whether `lower` is right where each timestep is a row of its input

    masks_by_argument: ClassVar[tuple[str, ...]] = ()  # the arguments whose masks a call takes as `..._mask`
    options_with_gradients: ClassVar[frozenset[str]] = frozenset()  # further arguments that `vjp` takes too

    activity_regularizer: Any
    states: Any = None  # that the layer carries from call to call
    _row: "weakref.ref[NotesCalls] | None" = None  # the Sequential that will note the layer's first call

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "compute_mask" in vars(cls) and "supports_masking" not in vars(cls):
            cls.supports_masking = True

    def __init__(self, trainable: bool) -> None:
        super().__init__(trainable)
        self._activity_losses: list[Any] = []  # of the last call
        self._nodes: deque[symbolic.Node] = deque()  # the calls with symbolic tensors; no list: none holds layers
        self._called_with: Any = None  # the shape of the first of these

    def __call__(self, inputs: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        """Call the layer; see its class for the arguments. Symbolic tensors give symbolic tensors.

        Parameters
        ----------
        inputs : array, or a structure of arrays
            They are cast to the dtype that the layer computes in. The first inputs build the layer.
        *args, **kwargs
            Further arguments of `call`. `mask` and `training` are left out where `call` does not take them. Instead of
            a mask there may be `lengths`, an array (batch,) of integers: how many timesteps of each row count, where
            rows are padded on the right.

        Returns
        -------
        array, or a structure of arrays
            The caller's own: they share no memory with inputs, weights, states, or each other.

        Raises
        ------
        ValueError, TypeError
            If an argument does not fit. Carried states are then as they were.
        """
        if symbolic.among(inputs, args, kwargs):
            return symbolic.call(self, (inputs, *args), kwargs)
        if "lengths" in kwargs and "lengths" not in names_of(type(self).call):
            given = dict(zip(names_of(type(self).call)[2:], args, strict=False))
            mask = self.mask_for(inputs, kwargs.get("mask", given.get("mask")), kwargs.pop("lengths"))
            kwargs |= {} if "mask" in given else {"mask": mask}
        x = self.checked_inputs(inputs)
        if not self.is_custom:
            self._check_options({**dict(zip(names_of(type(self).call)[2:], args, strict=False)), **kwargs})
        before = carried_states(self)
        try:
            outputs = self.call_checked(x, *args, **kwargs)
        except BaseException:
            put_back(before)
            raise
        return owned(outputs, x, self.runs_custom_code)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        """Raises ValueError or TypeError for a mask that is none, also where the layer ignores masks."""
        mask = options.get("mask")
        for part in [mask] if self.takes_one_input else nest.leaves(mask):
            if part is not None:
                as_mask(part)
        is_true("training", options.get("training"))

    def inner_call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A call from a model or another layer: the outputs may be memory of the inputs, and nothing is copied for it.

        It is the call itself where a user wrote that.
        """
        if not type(self).__call__.__module__.startswith("cyrnn."):
            return self(inputs, *args, **kwargs)
        return self.call_checked(self.checked_inputs(inputs), *args, **kwargs)

    def call_checked(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As `inner_call`, with inputs that `checked_inputs` has returned."""
        if not self.built:
            self.build(symbolic.shapes_of(x))
        return self.computed(x, *args, **kwargs)

    def computed(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """What `call` returns, in the dtype of the layer."""
        options = {key: kwargs.pop(key) for key in ("mask", "training") if key in kwargs}
        if options:
            kwargs |= accepted(type(self).call, **options)
        outputs = self.call(x, *args, **kwargs)
        if self.is_custom and isinstance(outputs, np.ndarray) and outputs.dtype.kind == "f":
            outputs = self.returned(outputs)
        self._record_activity(outputs)
        return outputs

    @property
    def carries_states(self) -> bool:
        """Whether the next call begins with the `states` that one leaves."""
        return False

    @property
    def is_custom(self) -> bool:
        """Whether the user wrote the layer, as a subclass of `Layer` and of no other class of this package."""
        return type(self).checked_inputs is CallableLayer.checked_inputs and not objects.is_builtin(type(self))

    @property
    def runs_custom_code(self) -> bool:
        """Whether a call runs code of the user: that of a custom layer or activation, in the layer or one within."""
        for part in self.layers_within():
            activation = getattr(part, "activation", None)
            if not objects.is_builtin(type(part)) or (activation and activations.engine_name(activation) is None):
                return True
        return False

    @property
    def takes_one_input(self) -> bool:
        """Whether `inputs` must be one array, not a list, tuple or dict of them."""
        return not self.is_custom

    def check_input_count(self, shapes: Any) -> None:
        """Check that inputs of these shapes are as many as the layer takes.

        Raises
        ------
        ValueError
            If there are several, and the layer takes one.
        """
        if not nest.is_shape(shapes) and self.takes_one_input:
            found, argument = nest.leaves_of_shapes(shapes), required_arguments(self.call)[0]
            raise ValueError(
                f"layer {self.name!r} expects 1 input, but received {len(found)} tensor{'s' * (len(found) != 1)}: "
                f"{argument} must be an array, got {type(shapes).__name__} of the shapes {found}"
            )

    def call(self, inputs: Array, *args: Any, **kwargs: Any) -> Any:
        """What the layer computes; inputs are an array of its dtype."""
        raise NotImplementedError(f"{type(self).__name__} has no `call(inputs, ...)`")

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        """Inputs as an array of the compute dtype, not copied where they are already.

        A custom layer may have several, in lists, tuples and dicts.
        """
        if nest.is_structure(inputs) and self.is_custom:
            return nest.mapped(lambda part: self.cast(as_array("inputs", part)), inputs)
        return self.cast(as_array("inputs", inputs))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """The shape of the output for inputs of `input_shape`.

        A custom layer without this method is called with zeros, to find the shape of what it returns.

        Parameters
        ----------
        input_shape : tuple of int
            With the batch; None stands for any length. Several inputs have a structure of such.

        Returns
        -------
        tuple of int, or a structure of such
        """
        if not self.is_custom:
            return tuple(input_shape)
        return self.output_shapes_found(nest.mapped_shapes(KerasTensor, input_shape))

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The symbolic tensors that a call with such tensors returns. The layer is built for them, if it is not yet.

        Raises ValueError and TypeError, as the call with arrays would.
        """
        shape = symbolic.shapes_of(inputs)
        self.check_input_count(shape)
        dtype = self.dtype_policy.engine_dtype
        placeholders = nest.mapped(lambda tensor: symbolic.placeholder(tensor, dtype), inputs)
        if all(array.size <= symbolic.MOST_ELEMENTS for array in nest.leaves(placeholders)):
            self.checked_inputs(placeholders)
        if not self.is_custom:
            self._build_symbolically(shape)
            outputs = self.compute_output_shape(shape)
        elif type(self).compute_output_shape is not CallableLayer.compute_output_shape:
            with deferred_building(False):
                self._build_symbolically(shape)
            outputs = self.compute_output_shape(shape)
        else:
            outputs = self.output_shapes_found(inputs, *args, **kwargs)
        returned = self.output_dtype.name
        return nest.mapped_shapes(lambda shape: KerasTensor(shape, returned), outputs)

    def output_shapes_found(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The shapes of what a custom layer returns for symbolic tensors, found by a call with zeros; where an axis may
        have any length, by another call with another length too."""
        given = symbolic.shapes_of(inputs)
        is_open = any(None in shape[1:] for shape in nest.leaves_of_shapes(given))
        found = []
        for length in (2, 4) if is_open else (2,):
            zeros = nest.mapped(functools.partial(symbolic.zeros, length=length), [inputs, args, kwargs])
            found.append(self.tried_with(zeros[0], *zeros[1], **zeros[2]))
        each = zip(*(map(np.shape, nest.leaves(outputs)) for outputs in found), strict=True)
        shapes = (shape_found(of_output, _first_shape(given)) for of_output in each)
        return nest.mapped(lambda _: next(shapes), found[0])

    def tried_with(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The outputs for inputs that only show their shapes: the layer is built, and no state moves."""
        before = carried_states(self)
        try:
            with deferred_building(False), np.errstate(all="ignore"):  # these values are not the user's
                return self(inputs, *args, **kwargs)
        finally:
            put_back(before)

    def _build_symbolically(self, shape: Any) -> None:
        if not self.built and not self._nodes:
            self.build(shape)
            self._called_with = shape
            return
        built_for = self._called_with if self._build_shape is None else self._build_shape
        for wrong in () if built_for is None else self.misfits(shape, built_for):
            raise ValueError(wrong)

    @property
    def input(self) -> Any:
        """The symbolic tensors that the layer was first called with. Raises AttributeError if there were none."""
        node = self._first_node("input")
        return node.args[0] if node.args else self.output

    @property
    def output(self) -> Any:
        """The symbolic tensors that the layer returned first. Raises AttributeError if it was not called with such."""
        outputs = self._first_node("output").outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def _first_node(self, wanted: str) -> symbolic.Node:
        row = None if self._row is None else self._row()
        if row is not None:
            row.note_calls()
        if not self._nodes:
            raise AttributeError(
                f"layer {self.name!r} has no {wanted}: it was not called with symbolic tensors, and is in no built "
                "Sequential"
            )
        return self._nodes[0]

    def __getstate__(self) -> dict[str, Any]:
        # The calls are the model's that they belong to.
        return {**super().__getstate__(), "_nodes": deque(), "_row": None}

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask that the layer passes on: its input's.

        Parameters
        ----------
        inputs, mask
            Of a call.

        Returns
        -------
        array, or None
        """
        return mask

    def call_and_mask(self, x: Any, mask: Any, training: bool) -> tuple[Any, Any]:
        """The layer's output, and the mask for the next layer; for several inputs `x` and `mask` are lists."""
        return self.inner_call(x, mask=mask, training=training), self.next_mask(x, mask)

    def next_mask(self, x: Any, mask: Any) -> Any:
        """The mask for the next layer."""
        if self.supports_masking:
            return self.compute_mask(x, mask)
        if any(part is not None for part in nest.leaves(mask)):
            notices.warn(f"layer {self.name!r} does not pass the mask on: the layers after it run without")
        return None

    def reset_state(self) -> None:
        """Set carried states to zeros; nothing to do for a layer that carries none."""

    # ------------------------------------------------------------ gradients

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        """What a call returns, and a function that takes its gradients back: the vector-Jacobian product.

        Parameters
        ----------
        x, initial_state, mask, training
            As in a call of the layer.

        Returns
        -------
        y : array, or a structure of arrays
            What the call returns, bit for bit. Stateful layers carry their new states.
        pullback : callable
            ``g = pullback(dy, inputs=True)``, where dy has the structure and the shapes of y, and None for outputs
            without a gradient. ``g.inputs`` is like x, or None with ``inputs=False``; ``g.initial_state`` a list of
            arrays in flat order; ``g.weights`` a list in the order of `trainable_weights`.

        Raises
        ------
        ValueError
            As in a call; and where the layer has no gradients. A custom layer has some if it has a method `vjp` with
            these arguments and results, or if its `call` calls layers, and computes nothing with NumPy.
        """
        if self.is_custom and self.sublayers and initial_state is None:
            return symbolic.vjp_through_calls(self, x, is_true("training", training))
        raise ValueError(
            f"layer {self.name!r} has no gradients: its class {type(self).__name__} must have a method "
            "vjp(x, initial_state=None, mask=None, training=False), which returns y and a pullback"
        )

    def _check_no_override(self) -> None:
        """Raises ValueError where a custom subclass computes something else than the class whose `vjp` it has."""
        own = type(self)._override
        if own is not None and objects.owner(type(self), "vjp").__module__.partition(".")[0] == "cyrnn":
            raise ValueError(
                f"layer {self.name!r} has no gradients: its class {type(self).__name__} has its own {own!r}, and must "
                "have a `vjp` beside it"
            )

    # ------------------------------------------------------------ streaming

    def stepper(self, batch_size: int = 1, initial_state: Any = None, threads: int = 1) -> Any:
        """What takes one timestep at a time: recurrent layers and models have it. Raises ValueError."""
        raise self._without_steps()

    @property
    def __cyrnn_model__(self) -> Any:
        """What `stepper` steps, for C. Raises ValueError as `stepper` does."""
        raise self._without_steps()

    def _without_steps(self) -> ValueError:
        return ValueError(
            f"layer {self.name!r} has no stepper: an RNN has one, and a Sequential or Functional model, "
            f"but no {type(self).__name__} alone"
        )

    # ------------------------------------------------------------ losses

    @property
    def losses(self) -> list[Any]:
        """Penalties: of the last call's activity first, then one for each regularized trainable weight."""
        slots = self._weight_slots(trainable=True)
        pairs = [(layer._specs[name].regularizer, layer._values[name]) for layer, name in slots]
        return self._all_activity_losses() + [penalty(weight) for penalty, weight in pairs if penalty is not None]

    def add_loss(self, loss: Any) -> None:
        """Keras' way to add a penalty within `call`, which raises ValueError here: nobody would know its gradient."""
        raise ValueError(
            f"layer {self.name!r} cannot add_loss(): its gradient is not known. Give the layer of the values an "
            "activity_regularizer: an object with __call__(x), the penalty, and gradient(x), its slope at each element"
        )

    def _all_activity_losses(self) -> list[Any]:
        return [loss for layer in self.layers_within() for loss in layer._activity_losses]

    def _record_activity(self, outputs: Any) -> None:
        """Note the activity penalty of this call's outputs, per sample as Keras does since 3.14."""
        if self.activity_regularizer is not None:
            self._activity_losses = [self.activity_regularizer(a) / max(1, len(a)) for a in nest.flatten(outputs)]


def _first_shape(shapes: Any) -> Any:
    """A shape, or the first of several."""
    found: list[Any] = []
    nest.mapped_shapes(found.append, shapes)
    return found[0]

"""The weights of a layer: how they are described, kept and replaced.

A weight is a read-only array. It is replaced, never changed, so what was prepared from it can never go stale, and a
call that is still working with the old one may continue.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import budget, constraints, initializers, locks, random, regularizers
from cyrnn.arrays import array_of_numbers, converted, to_numpy
from cyrnn.engine.plan import Slot, replace
from cyrnn.layers.base.arguments import Array, checked_bool, checked_size_of, in_native_order
from cyrnn.layers.base.dtype_policy import HasDTypePolicy
from cyrnn.layers.base.sublayers import HasSublayers, SetByInit

writing = locks.ForkSafeLock()  # of those who replace weights at the same time, none undoes what another did


class WeightSpec(NamedTuple):
    """A weight before it exists: its shape is known from the input's, nothing is allocated yet."""

    name: str
    shape: tuple[int, ...]
    initializer: Callable[..., ArrayLike] | None
    regularizer: Callable[[Array], Any] | None = None
    constraint: Callable[[Array], ArrayLike] | None = None
    trainable: bool = True
    dtype: np.dtype[Any] | None = None  # None: that of the layer's weights


class Weight:
    """A weight as a layer's attribute: None until the layer is built, then a read-only array.

    Assigning checks the shape and stores a copy; the array itself can never change, so what was prepared from it
    can never go stale.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: "Weighted | None", owner: type | None = None) -> Any:
        return self if layer is None else layer._values.get(self.name)

    def __set__(self, layer: "Weighted", value: ArrayLike) -> None:
        layer.assign({self.name: value})


class Weighted(HasSublayers, HasDTypePolicy):
    """A layer as the holder of weights: its own, and those of the layers inside it."""

    is_in_paths: ClassVar[bool] = True  # whether its name is in those of the weights below it
    name: Any = SetByInit()  # a str
    built: Any  # a property of what is built
    dtype_policy: Any = SetByInit()  # a DTypePolicy
    _slot: Any = SetByInit()  # of the values, where the engine finds them too
    _specs: Any = SetByInit()  # a dict of WeightSpec
    _trainable: Any = SetByInit()

    def __init__(self, trainable: bool) -> None:
        self._trainable = checked_bool("trainable", trainable)
        self._specs = dict[str, WeightSpec]()
        self._slot = Slot()
        self._adds_weights = False  # in a custom `build`; its attributes then hold the arrays

    @property
    def _values(self) -> Mapping[str, Array]:
        """The layer's own weights by name. The mapping is replaced as a whole, never changed: readers need no lock."""
        values: Mapping[str, Array] = self._slot.values
        return values

    @_values.setter
    def _values(self, values: Mapping[str, Array]) -> None:
        replace([self._slot], [values])

    def _hold(self, specs: Mapping[str, WeightSpec], values: Mapping[str, ArrayLike]) -> None:
        """Take weights of these specs and values into the layer."""
        self._specs = {**self._specs, **specs}
        self._values = {**self._values, **{name: self._checked_weight(name, v) for name, v in values.items()}}

    def _initial_value(self, spec: WeightSpec) -> ArrayLike:
        initializer = spec.initializer or initializers.GlorotUniform()  # what Keras takes for None
        dtype = self.dtype_policy.variable_dtype if spec.dtype is None else spec.dtype
        what = f"weight {spec.name!r} of layer {self.name!r}, of shape {spec.shape},"
        budget.spend_weights(what, checked_size_of(what, spec.shape) * dtype.itemsize)
        return initializer(spec.shape, dtype=self.dtype_policy.variable_dtype.name)

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        *,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
        autocast: bool = True,
        aggregation: str = "none",
    ) -> Array:
        """For a custom `build`: a new weight as a read-only array, to be kept in an attribute, alone or in a list.

        Arguments as in Keras: an initializer of None is glorot_uniform, a dtype of None that of the layer's weights;
        `autocast` and `aggregation` have no effect. `set_weights` replaces the array in the attribute, list or dict
        that holds it; lists and dicts stay the same objects.

        Parameters
        ----------
        shape : tuple of int, default ()
            The shape.
        initializer : str, dict, Initializer, callable or array, optional
            What it begins as; None is "glorot_uniform".
        dtype : str, optional
            None is that of the layer's weights.
        trainable : bool, default True
            Whether training changes it.
        regularizer : str, dict, Regularizer or callable, optional
            A penalty on it.
        constraint : str, dict, Constraint or callable, optional
            What it is projected by after each step of training.
        name : str, optional
            The name in files.
        autocast, aggregation : optional
            Accepted as in Keras; without effect.

        Returns
        -------
        array
            Read-only.
        """
        base = "variable" if name is None else name
        names = (f"{base}_{number}" if number else base for number in itertools.count())
        spec = WeightSpec(
            name=next(name for name in names if name not in self._specs),
            shape=random.checked_shape(shape),
            initializer=initializers.get(initializer),
            regularizer=regularizers.get(regularizer),
            constraint=constraints.get(constraint),
            trainable=checked_bool("trainable", trainable),
            dtype=None if dtype is None else random.checked_dtype(dtype),
        )
        value = self._initial_value(spec)
        self._adds_weights = True
        self._hold({spec.name: spec}, {spec.name: value})
        return self._values[spec.name]

    def __setattr__(self, name: str, value: Any) -> None:
        if not vars(self).get("_adds_weights"):
            return super().__setattr__(name, value)
        with writing:
            held = vars(self).get(name)
            weight = next((weight for weight, array in self._values.items() if array is held), None)
            if weight is None or held is value:
                return super().__setattr__(name, value)
            return self.assign({weight: value})

    def _put_in_attributes(self, old: Mapping[str, Array], values: Mapping[str, Array]) -> None:
        """Put arrays in the place of others in the attributes of a custom layer."""
        new = {id(old[name]): array for name, array in values.items() if name in old}
        attributes = {name: value for name, value in vars(self).copy().items() if name not in _NO_HOLDERS}
        seen: set[int] = set()
        for name, value in attributes.items():
            after = _substituted(value, new, seen)
            if after is not value:
                vars(self)[name] = after

    # ------------------------------------------------------------ weights

    @property
    def trainable(self) -> bool:
        """Whether the weights count as trainable: False leaves them out of `trainable_weights` and `losses`."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = checked_bool("trainable", value)
        for _, sublayer in self.sublayers:
            sublayer.trainable = value

    @property
    def weights(self) -> list[Array]:
        """All weights as read-only arrays, in Keras' order; all of one moment, also while a model is trained."""
        return self._held_in(self._weight_slots())

    @property
    def trainable_weights(self) -> list[Array]:
        """`weights`, without those of frozen layers."""
        return self._held_in(self._weight_slots(trainable=True))

    @staticmethod
    def _held_in(slots: "Sequence[tuple[Weighted, str]]") -> list[Array]:
        with writing:
            return [layer._values[name] for layer, name in slots]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """Those of `weights` that are not in `trainable_weights`."""
        trainable = set(self._weight_slots(trainable=True))
        return self._held_in([slot for slot in self._weight_slots() if slot not in trainable])

    # Keras' other names; states of seeds and of stateful layers are not among them.
    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras' order.

        Returns
        -------
        list of arrays
        """
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replace all weights. Raises ValueError, and changes nothing, if the number or a shape does not fit.

        Parameters
        ----------
        weights : list of arrays
            In the order and of the shapes of `get_weights`.
        """
        slots = self._weight_slots()
        if not isinstance(weights, (list, tuple, np.ndarray)):
            raise ValueError(f"weights must be a list of arrays, got {type(weights).__name__}")
        if len(weights) != len(slots):
            raise ValueError(
                f"layer {self.name!r} has {len(slots)} weights, got {len(weights)}"
                + ("" if self.built else ": it is not built yet; call it or build(input_shape) first")
            )
        new: dict[Weighted, dict[str, Array]] = defaultdict(dict)
        for (layer, name), value in zip(slots, weights, strict=True):
            new[layer][name] = layer._checked_weight(name, value)
        replace_weights(new)

    @property
    def own_specs(self) -> list[WeightSpec]:
        """What the layer's own weights are, those that are trained first."""
        return sorted(self._specs.values(), key=lambda spec: not spec.trainable)

    def _weight_slots(self, trainable: bool = False, seen: set[int] | None = None) -> "list[tuple[Weighted, str]]":
        """Where each of `weights` lives; with `trainable`, only where it is not frozen. A shared layer counts once."""
        seen = set() if seen is None else seen
        if id(self) in seen or (trainable and not self.trainable):
            return []
        seen.add(id(self))
        self.note_again()
        own = [(self, spec.name) for spec in self.own_specs if spec.trainable or not trainable]
        return own + [slot for _, sublayer in self.sublayers for slot in sublayer._weight_slots(trainable, seen)]

    def assign(self, values: Mapping[str, ArrayLike]) -> None:
        """Replace own weights by name. Raises ValueError where there is none, or of another shape."""
        replace_weights({self: self.checked_weights(values)})

    def checked_weights(self, values: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Own weights by name as they would be kept. Raises ValueError where there is none, or of another shape."""
        for name in values:
            if name not in self._specs:
                raise ValueError(
                    f"layer {self.name!r} has no weight {name!r}" + ("" if self.built else " yet: build it")
                )
        return {name: self._checked_weight(name, value) for name, value in values.items()}

    def _checked_weight(self, name: str, value: ArrayLike) -> Array:
        spec = self._specs.get(name)
        dtype = self.dtype_policy.variable_dtype if spec is None or spec.dtype is None else spec.dtype
        what = f"weight {name!r} of layer {self.name!r}"
        given = array_of_numbers(what, value) if isinstance(value, (list, tuple)) else to_numpy(what, value)
        if given.dtype.kind not in "fiub" and not np.can_cast(given.dtype, np.float32):  # bfloat16 is of kind "V"
            raise TypeError(f"{what} must be real numbers, got dtype {given.dtype}")
        array = in_native_order(converted(given, dtype))
        expected = array.shape if spec is None else spec.shape
        if array.shape != expected:
            raise ValueError(f"{what} has shape {expected}, got {array.shape}")
        return read_only(array)

    def count_params(self) -> int:
        """The number of weights' elements. Raises ValueError before the layer is built.

        Returns
        -------
        int
        """
        if not self.built:
            raise ValueError(f"layer {self.name!r} has no weights to count before it is built: call it or build() it")
        return sum(weight.size for weight in self.weights)

    def apply_constraints(self) -> None:
        """Replace each constrained weight w by constraint(w), as Keras' optimizers do after each update."""
        new: dict[Weighted, dict[str, ArrayLike]] = defaultdict(dict)
        for layer, name in self._weight_slots():
            constraint = layer._specs[name].constraint
            if constraint is not None:
                new[layer][name] = constraint(layer._values[name])
        replace_weights({layer: layer.checked_weights(values) for layer, values in new.items()})

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # A copied or unpickled array is writeable.
        values = {n: read_only(value) for n, value in self._values.items() if not isinstance(value.base, bytes)}
        replace_weights({self: values})


# Attributes that hold no weights of a custom layer.
_NO_HOLDERS = ("_slot", "_specs", "_noted", "_within", "_partitions")


def replace_weights(
    new: "Mapping[Weighted, Mapping[str, Array]]",
    attributes: dict[str, Any] | None = None,
    others: dict[str, Any] | None = None,
) -> None:
    """Put checked weights in the place of others: a call of the engine finds all of the old ones, or all of the new.

    With them come `others` into a dict of attributes: no interrupt comes between.
    """
    with writing:
        old = {layer: layer._values for layer in new}
        whole = [{**old[layer], **values} for layer, values in new.items()]
        replace([layer._slot for layer in new], whole, attributes, others)
        for layer, values in new.items():
            if layer._adds_weights:
                layer._put_in_attributes(old[layer], values)


def read_only(array: Array) -> Array:
    """A copy that nothing can make writeable, as `flags.writeable = True` would an array that owns its memory."""
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def _substituted(value: Any, new: Mapping[int, Array], seen: set[int]) -> Any:
    """`value` with arrays in the place of others, by identity; in lists and dicts in place, since they are the user's.

    A tuple is made anew, and only if it holds one of the arrays.
    """
    if isinstance(value, np.ndarray):
        return new.get(id(value), value)
    if type(value) not in (list, tuple, dict) or id(value) in seen:
        return value
    seen.add(id(value))
    # Copied first: other threads may add entries, which ends an iteration, and iterating may run other threads.
    items = list(value.copy().items()) if type(value) is dict else list(enumerate(value))
    changed = [(key, after) for key, part in items if (after := _substituted(part, new, seen)) is not part]
    if type(value) is tuple and changed:
        replaced = dict(changed)
        return tuple(replaced.get(key, part) for key, part in items)
    for key, after in changed:
        value[key] = after
    return value

"""The weights of a layer: how they are described, made, kept and replaced.

A weight is a read-only array. It is replaced, never changed, so what was prepared from it can never go stale, and
whoever is still working with the old one may go on.
"""

import contextlib
import functools
import itertools
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import constraints, initializers, random, regularizers
from cyrnn.dtypes import DTypePolicy
from cyrnn.layers.base.arguments import Array, Shape, checked_bool, checked_shapes

_building = threading.RLock()  # a layer is built once, also when several threads call it first
_writing = threading.RLock()  # of those who replace weights at the same time, none undoes what another did


def _renew_locks() -> None:  # in a forked child, the thread that held the old ones is gone
    global _building, _writing
    _building, _writing = threading.RLock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)

_deferred: ContextVar[bool] = ContextVar("deferred_building", default=False)


@contextlib.contextmanager
def deferred_building(deferred: bool = True) -> Iterator[None]:
    """Within the block `build` does nothing: whoever makes layers from a file builds them with the file's weights.

    With False it does its work again.
    """
    token = _deferred.set(deferred)
    try:
        yield
    finally:
        _deferred.reset(token)


@dataclass(frozen=True)
class WeightSpec:
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


class Weighted:
    """What holds weights, of its own and those of the layers inside it. A subclass gives `weight_specs`."""

    name: str
    dtype_policy: DTypePolicy

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _built_once(cls.build)  # type: ignore[method-assign]

    def __init__(self, trainable: bool) -> None:
        self._trainable = checked_bool("trainable", trainable)
        self._builds = 0  # under way, one within the other
        self._built = False
        self._build_shape: Shape | None = None
        self._specs: dict[str, WeightSpec] = {}
        self._values: Mapping[str, Array] = {}  # replaced as a whole, never changed: readers need no lock
        self._adds_weights = False  # in a `build` of its own; its attributes then hold the arrays

    # ------------------------------------------------------------ building

    @property
    def built(self) -> bool:
        """Whether the weights are there. Within a `build` of a subclass' own they are not, whatever it says."""
        return self._built

    @built.setter
    def built(self, value: bool) -> None:
        self._built = bool(value) and not self._builds

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        """The layer's own weights, in Keras' order, for inputs of this shape (None: any length)."""
        return []

    @property
    def sublayers(self) -> "list[tuple[str, Any]]":
        """Layers inside this one, each once, by the attribute that holds it: alone, or in lists, tuples and dicts."""
        found: dict[int, tuple[str, Any]] = {}
        for name, value in list(vars(self).items()):  # a snapshot: other threads may add attributes
            for layer in _held(value):
                found.setdefault(id(layer), (name, layer))
        return list(found.values())

    def layers_within(self) -> "list[Any]":
        """This layer and all that are in it, each once."""
        found: dict[int, Any] = {id(self): self}
        for _, sublayer in self.sublayers:
            found |= {id(layer): layer for layer in sublayer.layers_within() if id(layer) not in found}
        return list(found.values())

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        """The input shape of each of `sublayers`; none if they are built when they are called."""
        return []

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of `input_shape`, the batch axis first. A built layer is left as it is.

        A layer of several inputs gets a list of shapes.
        """
        shape = checked_shapes("input_shape", input_shape)
        with _building:
            if not self.built and not _deferred.get():
                with _as_before_on_error(self):
                    self.build_with(shape, None)

    def build_with(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        """Build, with own weights of these values instead of the initializers' ones."""
        self._builds += 1
        try:
            self._make_weights(input_shape, values)
        finally:
            self._builds -= 1
        self._build_shape = input_shape
        self.built = True

    def _make_weights(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        specs = self.weight_specs(input_shape)
        if values is None:
            values = {spec.name: self._initial_value(spec) for spec in specs}
            for (_, sublayer), shape in zip(self.sublayers, self.sublayer_shapes(input_shape), strict=False):
                sublayer.build(shape)
        self._specs = {**self._specs, **{spec.name: spec for spec in specs}}
        self._values = {**self._values, **{name: self._checked_weight(name, v) for name, v in values.items()}}

    def _initial_value(self, spec: WeightSpec) -> ArrayLike:
        initializer = spec.initializer or initializers.GlorotUniform()  # what Keras takes for None
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
        """For a `build` of your own: a new weight as a read-only array, to be kept in an attribute, alone or in a list.

        Arguments as in Keras: an initializer of None is glorot_uniform, a dtype of None that of the layer's weights;
        `autocast` and `aggregation` have no effect. What the attribute holds follows `set_weights`.
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
        self._specs = {**self._specs, spec.name: spec}
        self._values = {**self._values, spec.name: self._checked_weight(spec.name, value)}
        return self._values[spec.name]

    def __setattr__(self, name: str, value: Any) -> None:
        if not vars(self).get("_adds_weights"):
            return super().__setattr__(name, value)
        with _writing:
            held = vars(self).get(name)
            weight = next((weight for weight, array in self._values.items() if array is held), None)
            if weight is None or held is value:
                return super().__setattr__(name, value)
            return self.assign({weight: value})

    def _replace(self, values: Mapping[str, Array]) -> None:
        """Put checked values in the place of others, in the attributes of a layer of your own too."""
        with _writing:
            old = self._values
            self._values = {**old, **values}
            if self._adds_weights:
                new = {id(old[name]): array for name, array in values.items() if name in old}
                for name, value in list(vars(self).items()):
                    if name != "_values":
                        vars(self)[name] = _substituted(value, new)

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
        """All weights as read-only arrays, in Keras' order."""
        return [layer._values[name] for layer, name in self._weight_slots()]

    @property
    def trainable_weights(self) -> list[Array]:
        """`weights`, without those of frozen layers."""
        return [layer._values[name] for layer, name in self._weight_slots(trainable=True)]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """Those of `weights` that are not in `trainable_weights`."""
        trainable = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trainable]

    # Keras' other names; states of seeds and of stateful layers are not among them.
    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras' order."""
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replace all weights. Raises ValueError, and changes nothing, if the number or a shape does not fit."""
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
        for layer, values in new.items():
            layer._replace(values)

    @property
    def own_specs(self) -> list[WeightSpec]:
        """What the layer's own weights are, those that are trained first."""
        return sorted(self._specs.values(), key=lambda spec: not spec.trainable)

    @property
    def makes_its_own_weights(self) -> bool:
        """Whether a user wrote the `build`."""
        owner = next(cls for cls in type(self).__mro__ if "build" in vars(cls))
        return owner is not Weighted and "_keras_module" not in vars(owner)

    def _weight_slots(self, trainable: bool = False, seen: set[int] | None = None) -> "list[tuple[Weighted, str]]":
        """Where each of `weights` lives; with `trainable`, only where it is not frozen. A shared layer counts once."""
        seen = set() if seen is None else seen
        if id(self) in seen or (trainable and not self.trainable):
            return []
        seen.add(id(self))
        own = [(self, spec.name) for spec in self.own_specs if spec.trainable or not trainable]
        return own + [slot for _, sublayer in self.sublayers for slot in sublayer._weight_slots(trainable, seen)]

    def assign(self, values: Mapping[str, ArrayLike]) -> None:
        """Replace own weights by name. Raises ValueError where there is none, or of another shape."""
        self._replace(self.checked_weights(values))

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
        given = np.asarray(value)
        if given.dtype.kind not in "fiub" and not np.can_cast(given.dtype, np.float32):  # bfloat16 is of kind "V"
            raise TypeError(f"weight {name!r} of layer {self.name!r} must be real numbers, got dtype {given.dtype}")
        with np.errstate(over="ignore"):  # what is too large for the dtype is infinite in it
            array = np.array(given, dtype=dtype, order="C")
        expected = array.shape if spec is None else spec.shape
        if array.shape != expected:
            raise ValueError(f"weight {name!r} of layer {self.name!r} has shape {expected}, got {array.shape}")
        array.flags.writeable = False
        return array

    def count_params(self) -> int:
        """The number of weights' elements. Raises ValueError before the layer is built."""
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
        for layer, values in new.items():
            layer.assign(values)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for value in self._values.values():  # a copy or an unpickled array has forgotten that it is read-only
            value.flags.writeable = False


def _built_once(build: Callable[..., None]) -> Callable[..., None]:
    """A subclass' own `build`, run by one thread alone and only once; the layer counts as built behind it."""

    @functools.wraps(build)
    def guarded(layer: Weighted, input_shape: Sequence[int | None] | None = None, *args: Any, **kwargs: Any) -> None:
        shape = None if input_shape is None else checked_shapes("input_shape", input_shape)
        with _building:
            if layer.built or _deferred.get():
                return
            with _as_before_on_error(layer):
                layer._builds += 1
                try:
                    build(layer, shape, *args, **kwargs)
                finally:
                    layer._builds -= 1
            layer._build_shape = shape or layer._build_shape
            layer.built = True

    return guarded


@contextlib.contextmanager
def _as_before_on_error(layer: "Weighted") -> Iterator[None]:
    """If the block fails, the layer and those in it are as they were: nothing is half built."""
    before = [(part, part._specs, part._values, part._built, part._build_shape) for part in layer.layers_within()]
    try:
        yield
    except BaseException:
        for part, specs, values, built, shape in before:
            part._specs, part._values, part._built, part._build_shape = specs, values, built, shape
        raise


def _held(value: Any) -> "Iterator[Weighted]":
    """The layers that a value is, or holds in lists, tuples and dicts."""
    if isinstance(value, Weighted):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _held(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _held(part)


def _substituted(value: Any, new: Mapping[int, Array]) -> Any:
    """`value` with arrays in the place of others, by identity; in lists, tuples and dicts too."""
    if isinstance(value, np.ndarray):
        return new.get(id(value), value)
    if type(value) in (list, tuple):
        return type(value)(_substituted(part, new) for part in value)
    if type(value) is dict:
        return {key: _substituted(part, new) for key, part in value.items()}
    return value

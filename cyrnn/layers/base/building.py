"""How a layer is built: once, by one thread, wholly or not at all."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from numpy.typing import ArrayLike

from cyrnn import budget, locks
from cyrnn.layers.base.arguments import Shape, checked_shapes
from cyrnn.layers.base.weights import Weighted, WeightSpec

_deferred: ContextVar[bool] = ContextVar("deferred_building", default=False)


@contextlib.contextmanager
def deferred_building(deferred: bool = True) -> Iterator[None]:
    """Context manager that turns `build` into a no-op, so that loaders can build layers with stored weights.

    Pass False to turn building on again within it.
    """
    token = _deferred.set(deferred)
    try:
        yield
    finally:
        _deferred.reset(token)


class Buildable(Weighted):
    """A layer whose weights are made when the shape of its input is known."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _built_once(cls.build)  # type: ignore[method-assign]

    def __init__(self, trainable: bool) -> None:
        super().__init__(trainable)
        self._build_lock = locks.ForkSafeLock()  # each layer has its own: a slow build delays no other layer
        self._builds = 0  # under way, one within the other
        self._built = False
        self._build_shape: Shape | None = None

    @property
    def built(self) -> bool:
        """Whether the weights exist. Within a custom `build` it stays False, even if that assigns True."""
        return self._built

    @built.setter
    def built(self, value: bool) -> None:
        self._built = bool(value) and not self._builds
        self._settle(self._built)

    def weight_specs(self, input_shape: Shape) -> list[WeightSpec]:
        """The layer's own weights, in Keras' order, for inputs of this shape (None: any length)."""
        return []

    def inputs_of_call(self, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Of the arguments of a call those that it is built for: the first, or several in a list."""
        return args[0]

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        """The input shape of each of `sublayers`; none if they are built when they are called."""
        return []

    def build(self, input_shape: Sequence[int | None], *others: Sequence[int | None]) -> None:
        """Create the weights for inputs of `input_shape`, the batch axis first. A built layer is left as it is.

        A layer of several inputs gets a list of shapes, or one after the other.

        Parameters
        ----------
        input_shape : tuple of int or None
            The batch axis first; a list of shapes for several inputs. None is any length.
        """
        shape = checked_shapes("input_shape", [input_shape, *others] if others else input_shape)
        with self._build_lock:
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
        self._hold({spec.name: spec for spec in specs}, values)

    def _set_by_build(self) -> dict[str, Any]:
        """The attributes that building sets, by name: a build that fails puts these values back."""
        return {"_specs": self._specs, "_values": self._values, "_build_shape": self._build_shape}

    @property
    def makes_its_own_weights(self) -> bool:
        """Whether the `build` is a custom one."""
        owner = next(cls for cls in type(self).__mro__ if "build" in vars(cls))
        return owner is not Buildable and "_keras_module" not in vars(owner)

    def misfits(self, shape: Any, built_for: Any) -> Iterator[str]:
        """What is wrong with calling the layer, built for one shape, with inputs of another: other weight shapes."""
        if self.makes_its_own_weights or shape == built_for:
            return
        budget.spend(1)
        for old, new in zip(self.weight_specs(built_for), self.weight_specs(shape), strict=True):
            if old.shape != new.shape:
                yield f"the {old.name} of layer {self.name!r} has shape {old.shape}, inputs {shape} need {new.shape}"
        pairs = zip(self.sublayer_shapes(shape), self.sublayer_shapes(built_for), strict=False)
        for (_, sublayer), (ours, theirs) in zip(self.sublayers, pairs, strict=False):
            yield from sublayer.misfits(ours, theirs)

    def get_build_config(self) -> dict[str, Any] | None:
        """The shape that `build` got, so that a reader can build the layer again.

        Returns
        -------
        dict, or None if the layer is not built
        """
        return None if self._build_shape is None else {"input_shape": list(self._build_shape)}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Build as a saved layer was built.

        Parameters
        ----------
        config : dict
            What `get_build_config` has returned.
        """
        shape = config.get("input_shape") or (config.get("shapes_dict") or {}).get("sequences_shape")
        if shape is not None:
            self.build(shape)


def _built_once(build: Callable[..., None]) -> Callable[..., None]:
    """A custom `build`, run by one thread alone and only once; the layer counts as built after it."""

    @functools.wraps(build)
    def guarded(layer: Buildable, input_shape: Sequence[int | None] | None = None, *args: Any, **kwargs: Any) -> None:
        shape = None if input_shape is None else checked_shapes("input_shape", input_shape)
        with layer._build_lock:
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
def unbuilt_on_error(layer: Buildable) -> Iterator[None]:
    """Context manager: a layer that is not built, but in the block, is not built if that fails."""
    with layer._build_lock, _as_before_on_error(layer):
        yield


@contextlib.contextmanager
def _as_before_on_error(layer: Buildable) -> Iterator[None]:
    """If the block fails, the layer and those in it are as they were: nothing is half built.

    So they are in a child that another thread forks meanwhile, where the block never ends.
    """
    before = [(part, part._built, part._set_by_build()) for part in layer.layers_within()]

    def put_back() -> None:
        for part, built, attributes in before:
            for name, value in attributes.items():
                object.__setattr__(part, name, value)
            part.built = built

    def undo() -> None:
        layer._builds = 0
        put_back()

    lock = layer._build_lock
    outer, lock.undo = lock.undo, lock.undo or undo
    try:
        yield
    except BaseException:
        put_back()
        raise
    finally:
        lock.undo = outer

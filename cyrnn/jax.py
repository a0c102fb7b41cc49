"""Layers and models in JAX: as pure functions with gradients, also under `jit`."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import jax
except ImportError as error:
    raise ImportError("cyrnn.jax needs the package jax: pip install 'cyrnn[jax]'") from error

from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.locks import ForkSafeLock
from cyrnn.saving.named_weights import replace_changed, weights_of

__all__ = ["function"]


def function(layer: Layer) -> Callable[..., Any]:
    """A built layer or model as a pure function ``f(weights, x)``, which computes in cyrnn and has a gradient in JAX.

    It works under `jax.jit`, `grad`, `vjp`, and under `vmap`, which calls it for one element after another. It is not
    in training: dropout does nothing. JAX calls it back on the CPU. `grad` runs the layer forward twice, because JAX
    keeps only arrays between forward and back.

    Parameters
    ----------
    layer : Layer
        A layer or model that is built, and not stateful. It is copied, and never changes.

    Returns
    -------
    callable
        ``f(weights, x, initial_state=None, mask=None)``: weights are a list in the order of the layer's
        `trainable_weights`, the others are what they are now; x, initial_state and mask are as in a call of the layer.
        It returns what the layer does. Neither second derivatives nor forward-mode derivatives (`jvp`) are there.

    Raises
    ------
    TypeError
        It is no layer of cyrnn.
    ValueError
        It is not built, so it has no weights yet; or it is stateful, so it is no pure function.

    Examples
    --------
    >>> rnn = cyrnn.layers.SimpleRNN(32)
    >>> rnn.build((None, None, 8))
    >>> f = cyrnn.jax.function(rnn)
    >>> gradients = jax.jit(jax.grad(lambda weights, x: (f(weights, x) ** 2).sum()))(rnn.get_weights(), x)
    """
    weights_of(layer)  # raises what is wrong
    for part in layer.layers_within():
        if part.carries_states:
            raise ValueError(f"layer {part.name!r} is stateful, so it is no pure function")
    calls = _Calls(copy.deepcopy(layer))

    @jax.custom_vjp
    def called(weights: Any, x: Any, initial_state: Any, mask: Any) -> Any:
        spec = calls.spec_of_outputs(x, initial_state, mask)
        return _called_back(calls.outputs, spec, weights, x, initial_state, mask)

    @jax.custom_vjp  # which refuses to be differentiated
    def gradients(dy: Any, *arguments: Any) -> Any:
        found = list(map(_spec, jax.tree.leaves(arguments[:3])))
        return _called_back(calls.gradients, [spec for spec in found if _has_gradient(spec)], dy, *arguments)

    def forward(*arguments: Any) -> tuple[Any, Any]:
        calls.check_differentiable(*arguments[1:])
        return called(*arguments), arguments

    def back(arguments: Any, dy: Any) -> Any:
        dy = jax.tree.map(lambda gradient: gradient if _has_gradient(gradient) else None, dy)
        found = iter(gradients(dy, *arguments))

        def of_leaf(leaf: Any) -> Any:
            return next(found) if _has_gradient(leaf) else zeros(leaf)

        return (*jax.tree.map(of_leaf, arguments[:3]), jax.tree.map(zeros, arguments[3]))

    def zeros(leaf: Any) -> Any:  # of the type that JAX has for the gradients of integers
        return jax.numpy.zeros_like(leaf) if _has_gradient(leaf) else np.zeros(np.shape(leaf), jax.dtypes.float0)

    def refused(*arguments: Any) -> Any:
        raise ValueError(f"layer {layer.name!r} of cyrnn has no second derivatives")

    gradients.defvjp(refused, refused)
    called.defvjp(forward, back)

    def f(weights: Any, x: Any, initial_state: Any = None, mask: Any = None) -> Any:
        calls.check_weights(weights)
        return called(list(weights), x, initial_state, mask)

    f.__doc__ = f"What {type(layer).__name__} {layer.name!r} of cyrnn returns with these weights; see `function`."
    return f


class _Calls:
    """The calls of a layer that JAX makes back to Python, of which some may be at the same time."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        trained = set(layer._weight_slots(trainable=True))
        self._weights = [weight for weight in weights_of(layer) if weight.key in trained]
        self._lock = ForkSafeLock()  # between the replacing of weights and the call with them
        self._specs: dict[Any, Any] = {}

    def check_weights(self, weights: Any) -> None:
        """Raises ValueError unless they are as many, and of the shapes, as the layer's."""
        wanted = [weight.value.shape for weight in self._weights]
        given = [np.shape(array) for array in weights] if isinstance(weights, (list, tuple)) else type(weights).__name__
        if given != wanted:
            raise ValueError(f"weights of layer {self.layer.name!r} must be a list of the shapes {wanted}, got {given}")

    def spec_of_outputs(self, x: Any, initial_state: Any, mask: Any) -> Any:
        """The shapes and dtypes of what a call returns: zeros show them. Raises what is wrong with the arguments."""
        return self._tried(self.layer, x, initial_state, mask)

    def check_differentiable(self, x: Any, initial_state: Any, mask: Any) -> None:
        """Raises ValueError if the layer has no gradients, where an error is not yet one of a running program."""
        self._tried(lambda *args, **options: self.layer.vjp(*args, **options)[0], x, initial_state, mask)

    def _tried(self, function: Callable[..., Any], x: Any, initial_state: Any, mask: Any) -> Any:
        arguments = jax.tree.map(_spec, (x, initial_state, mask))
        leaves, structure = jax.tree.flatten(arguments)
        key = (function is self.layer, structure, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in self._specs:
            zeros, *rest = jax.tree.map(lambda spec: np.zeros(spec.shape, spec.dtype), arguments)
            outputs = function(zeros, **_options(*rest))
            self._specs[key] = nest.mapped(self._spec_of_output, outputs)
        return self._specs[key]

    def _spec_of_output(self, array: Array) -> Any:
        spec = _spec(array)
        if spec.dtype != array.dtype:
            raise ValueError(
                f"layer {self.layer.name!r} returns {array.dtype}, which JAX has only after "
                "jax.config.update('jax_enable_x64', True)"
            )
        return spec

    def outputs(self, weights: Any, x: Any, initial_state: Any, mask: Any) -> Any:
        with self._lock:
            self._replace(weights)
            return self.layer(_arrays(x), **_options(initial_state, mask))

    def gradients(self, dy: Any, weights: Any, x: Any, initial_state: Any, mask: Any) -> list[Array]:
        """The gradients of those leaves of weights, x and initial_state that have one, in their dtypes."""
        with self._lock:
            self._replace(weights)
            options = _options(initial_state, mask)
            _, pullback = self.layer.vjp(_arrays(x), **options)
        found = pullback(_arrays(dy))
        leaves = jax.tree.leaves(x)
        of_inputs = [None] * len(leaves) if found.inputs is None else nest.leaves(found.inputs)
        of_states = found.initial_state if initial_state is not None else []
        pairs = zip(jax.tree.leaves((weights, x, initial_state)), [*found.weights, *of_inputs, *of_states], strict=True)
        return [
            np.zeros(leaf.shape, leaf.dtype) if gradient is None else np.asarray(gradient, leaf.dtype)
            for leaf, gradient in pairs
            if _has_gradient(leaf)
        ]

    def _replace(self, weights: Any) -> None:
        replace_changed(zip(self._weights, map(np.asarray, weights), strict=True))


def _called_back(function: Callable[..., Any], spec: Any, *arguments: Any) -> Any:
    return jax.pure_callback(function, spec, *arguments, vmap_method="sequential")


def _options(initial_state: Any, mask: Any) -> dict[str, Any]:
    given = {"initial_state": _arrays(initial_state), "mask": _arrays(mask)}
    return {name: value for name, value in given.items() if value is not None}  # not every layer takes both


def _arrays(structure: Any) -> Any:
    return jax.tree.map(np.asarray, structure)


def _spec(array: Any) -> Any:
    return jax.ShapeDtypeStruct(np.shape(array), jax.dtypes.canonicalize_dtype(jax.numpy.result_type(array)))


def _has_gradient(array: Any) -> bool:
    return bool(jax.numpy.issubdtype(array.dtype, jax.numpy.inexact))

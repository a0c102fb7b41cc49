"""Layers and models in torch: as modules with parameters and gradients, on the CPU."""

from typing import Any

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("cyrnn.torch needs the package torch: pip install 'cyrnn[torch]'") from error

from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.names import distinct
from cyrnn.saving.named_weights import Weight, replace_changed, weights_of

__all__ = ["Module", "module"]


def module(layer: Layer) -> "Module":
    """A built layer or model as a `torch.nn.Module`, which computes in cyrnn and takes part in torch's gradients.

    Parameters
    ----------
    layer : Layer
        A layer or model that is built. The module works with the layer itself, and gives it the parameters' values
        when it is called.

    Returns
    -------
    Module

    Raises
    ------
    TypeError
        It is no layer of cyrnn.
    ValueError
        It is not built, so it has no weights yet.

    Examples
    --------
    >>> rnn = cyrnn.layers.SimpleRNN(32, return_sequences=True)
    >>> rnn.build((None, None, 8))
    >>> model = torch.nn.Sequential(cyrnn.torch.module(rnn), torch.nn.Linear(32, 1))
    """
    return Module(layer)


class Module(torch.nn.Module):
    """A layer or model of cyrnn, whose trainable weights are parameters and whose other weights are buffers.

    Names are those of cyrnn's files of arrays, such as ``simple_rnn/cell/kernel``. What changes parameters, such as an
    optimizer or `load_state_dict`, is seen by the next call. In training mode (`train`) the layer's `training` is true.
    Axes are cyrnn's: batch, timesteps, features.

    Parameters
    ----------
    layer : Layer
        See `module`.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        weights = weights_of(layer)
        trained = set(layer._weight_slots(trainable=True))
        # A module has methods and attributes, which no weight can be called like; and "." is between modules.
        taken = dir(self)
        names = distinct([*taken, *(weight.name.replace(".", "_") for weight in weights)])[len(taken) :]
        self._layer = layer
        self._trained: tuple[int, list[tuple[Any, str]]] = (-1, [])  # the structure, and what `vjp` has gradients of
        self._weights: list[tuple[str, Weight]] = list(zip(names, weights, strict=True))
        self._dtypes = {}
        for name, weight in self._weights:
            value = _tensor(weight.value)
            self._dtypes[name] = value.dtype
            if weight.key in trained:
                self.register_parameter(name, torch.nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def forward(self, x: Any, initial_state: Any = None, mask: Any = None) -> Any:
        """Call the layer.

        Parameters
        ----------
        x : tensor, or a structure of tensors
        initial_state : tensor, or a structure of tensors, optional
        mask : tensor or array, or a structure of them, optional
            True: keep the timestep.

        Returns
        -------
        tensor, or a structure of tensors
            In the layer's dtype.

        Raises
        ------
        ValueError
            A tensor is not on the CPU, the parameters have been given another dtype, or as in a call of the layer.
        TypeError
            What must be a tensor is none.
        """
        if torch.compiler.is_compiling():  # which cannot look into compiled modules; and this is no time to import it
            return torch.compiler.disable(self._called)(x, initial_state, mask)
        return self._called(x, initial_state, mask)

    def _called(self, x: Any, initial_state: Any, mask: Any) -> Any:
        weights = self._put_in_layer()
        inputs, states = nest.leaves(x), [] if initial_state is None else nest.leaves(initial_state)
        call = _Call(self, x, initial_state, mask)
        if torch.is_grad_enabled() and any(_wants_gradient(tensor) for tensor in (*inputs, *states, *weights)):
            outputs = Differentiated.apply(call, *inputs, *states, *weights)
        else:
            outputs = call.run()
        return nest.filled(call.structure, outputs)

    def to_cyrnn(self) -> Layer:
        """The layer, with the values that parameters and buffers have now.

        Returns
        -------
        Layer
        """
        self._put_in_layer()
        return self._layer

    def extra_repr(self) -> str:
        """What `repr` says of the module: the layer.

        Returns
        -------
        str
        """
        return repr(self._layer)

    def _put_in_layer(self) -> list[Any]:
        """Give the layer the weights of the module. Returns them as tensors."""
        tensors = [getattr(self, name) for name, _ in self._weights]
        values = []
        for tensor, (name, weight) in zip(tensors, self._weights, strict=True):
            array = _array(f"weight {name!r}", tensor)
            if tensor.dtype != self._dtypes[name]:
                raise ValueError(
                    f"weight {name!r} of layer {self._layer.name!r} must be of {self._dtypes[name]}, "
                    f"got {tensor.dtype}: make a layer of that dtype instead"
                )
            values.append((weight, array))
        replace_changed(values)
        return tensors

    def _trained_now(self) -> list[tuple[Any, str]]:
        """Which weights `vjp` has gradients of, in their order: layers may have been frozen meanwhile."""
        now = structure_now()
        if self._trained[0] != now:
            self._trained = (now, self._layer._weight_slots(trainable=True))
        return self._trained[1]

    def _take_buffers(self, before: list[Array]) -> None:
        """Give buffers what a call in training has made of the layer's weights that are not trained."""
        with torch.no_grad():
            for (name, weight), array in zip(self._weights, before, strict=True):
                if weight.value is not array and name in self._buffers:
                    self._buffers[name].copy_(_tensor(weight.value))


class _Call:
    """One call of a module: forward, and back."""

    def __init__(self, module: Module, x: Any, initial_state: Any, mask: Any) -> None:
        self.module = module
        self.structure: Any = None  # of the outputs, when it has run
        self.inputs = len(nest.leaves(x))
        self._x = nest.mapped(lambda leaf: _input("x", leaf), x)
        states = nest.mapped(lambda leaf: _input("initial_state", leaf), initial_state)
        keep = nest.mapped(lambda leaf: _array("mask", leaf) if isinstance(leaf, torch.Tensor) else leaf, mask)
        self._options: Any = {
            name: value
            for name, value in {"initial_state": states, "mask": keep, "training": module.training or None}.items()
            if value is not None  # not every layer takes all
        }
        self._has_states = states is not None
        self._pullback: Any = None

    def run(self, taped: bool = False) -> tuple[Any, ...]:
        """The outputs; taped, so that `back` can be called."""
        module, layer = self.module, self.module._layer
        before = [weight.value for _, weight in module._weights]
        if taped:
            self._trained = module._trained_now()
            y, self._pullback = layer.vjp(self._x, **self._options)
        else:
            y = layer(self._x, **self._options)
        if module.training:
            module._take_buffers(before)
        self.structure = nest.mapped(lambda _: None, y)
        self._x = self._options = None  # the pullback has copies of what it needs
        return tuple(map(_tensor, nest.leaves(y)))

    def back(self, dy: list[Array | None], inputs: bool) -> list[Array | None]:
        """The gradients of inputs, initial states and weights, in the order of `Differentiated`."""
        found = self._pullback(nest.filled(self.structure, dy), inputs=inputs)
        of_inputs = [None] * self.inputs if found.inputs is None else nest.leaves(found.inputs)
        of_states = found.initial_state if self._has_states else []
        of_weights = dict(zip(self._trained, found.weights, strict=True))
        return [*of_inputs, *of_states, *(of_weights.get(weight.key) for _, weight in self.module._weights)]


class Differentiated(torch.autograd.Function):
    """A call of a module as a function of tensors: its inputs, initial states and weights."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Any) -> tuple[Any, ...]:
        ctx.set_materialize_grads(False)
        ctx.call = call
        return call.run(taped=True)

    @staticmethod
    def backward(ctx: Any, *dy: Any) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # which only create_graph=True does: these gradients would be constants there
            raise RuntimeError(
                f"layer {ctx.call.module._layer.name!r} of cyrnn has no second derivatives: "
                "its gradients cannot be computed with create_graph=True"
            )
        wanted = ctx.needs_input_grad[1:]
        arrays = [None if gradient is None else _array("a gradient", gradient) for gradient in dy]
        found = ctx.call.back(arrays, inputs=any(wanted[: ctx.call.inputs]))
        pairs = zip(found, wanted, strict=True)
        return (None, *(_tensor(array) if want and array is not None else None for array, want in pairs))


def _wants_gradient(tensor: Any) -> bool:
    return tensor is not None and bool(tensor.requires_grad)


def _input(name: str, tensor: Any) -> Array | None:
    return None if tensor is None else _array(name, tensor)


def _array(name: str, tensor: Any) -> Array:
    """A tensor as an array: a view of its memory, but a copy in float32 for bfloat16, which NumPy does not have."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a tensor of torch, got {type(tensor).__name__}")
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, where cyrnn computes, got device {str(tensor.device)!r}")
    tensor = tensor.detach()
    try:
        found: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except (RuntimeError, TypeError) as error:
        raise TypeError(f"{name} must be a tensor that NumPy can view, not one of torch.func: {error}") from error
    return found


def _tensor(array: Array) -> Any:
    """An array as a tensor: of the same memory, unless torch cannot have it so."""
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    if array.dtype.kind == "V":  # bfloat16
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)

"""Sequential: layers one after the other. Reference: ``keras.Sequential``, Keras 3."""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from cyrnn import budget, objects
from cyrnn.arrays import shown
from cyrnn.layers.around.core import Input, InputLayer
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array, Shape, check_possible, is_true
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.names import before_unbuilt, errors_name
from cyrnn.layers.base.programs.lowered import InputForm
from cyrnn.layers.base.signatures import required_arguments
from cyrnn.layers.base.symbolic import KerasTensor, Node
from cyrnn.models.calls import ModelOfCalls
from cyrnn.models.executor import Call, Place, place_after
from cyrnn.models.functional import Model
from cyrnn.models.graph import calls_in_a_row, check_ranks, still_in_a_row
from cyrnn.models.inputs import Feed, Leaf, matches
from cyrnn.models.programs.parts import Results, Wanted


@objects.register("keras")
@objects.register("keras.layers")  # as a layer of another model
class Sequential(ModelOfCalls, Model):
    """A model of layers in a row: each is called with what the one before it returns.

    Called as ``model(inputs, mask=None, training=False, *, lengths=None)``, lengths as in `predict`. Masks flow from
    the layers that make them (Masking, or Embedding with `mask_zero`) through the others, as in Keras' releases.

    Parameters
    ----------
    layers : iterable of Layer, optional
        Layers that take one input. If the first is an `Input`, the model is built at once, else by its first call.
    trainable : bool, default True
        Whether the weights are in `trainable_weights`.
    name : str, optional
        Without "/"; default: "sequential", numbered.

    Raises
    ------
    ValueError
        If a layer does not fit what the one before it returns; see `add`.

    Examples
    --------
    >>> model = cyrnn.Sequential([cyrnn.Input((5, 3)), cyrnn.layers.GRU(8), cyrnn.layers.Dense(1)])
    >>> model.predict(np.zeros((2, 5, 3)), verbose=0).shape
    (2, 1)
    """

    supports_masking = True
    _noted_calls: Sequence[tuple[Node, Any]] = ()  # the symbolic calls of the layers with what they return, once noted
    _shapes_between: Sequence[Any] = ()  # of the input, and of what each layer returned when the model was built

    def __init__(self, layers: Iterable[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._layers: list[Layer] = []
        self._layers = self._with(layers or ())
        self._build_from_input()

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the Input."""
        return [layer for layer in self._layers if not isinstance(layer, InputLayer)]

    @property
    def all_layers(self) -> list[Layer]:
        """The layers, the Input before them if there is one."""
        return list(self._layers)

    @property
    def sublayers(self) -> list[tuple[str, Layer]]:
        return [("layers", layer) for layer in self.layers]

    @property
    def input_shape(self) -> Shape | None:
        """The shape of the input, batch axis first; None if there is no Input, and the model is not built."""
        first = self._layers[0] if self._layers else None
        return first.batch_shape if isinstance(first, InputLayer) else self._build_shape

    @property
    def output_names(self) -> list[str]:
        """The name of the last layer."""
        return [self.layers[-1].name] if self.layers else [self.name]

    @property
    def output_shape(self) -> Shape | None:
        """The shape of the output, where that of the input is known."""
        return None if self.input_shape is None else self.compute_output_shape(self.input_shape)

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic tensor of the input. Raises AttributeError if the model is not built."""
        return [self._tensors()[0]]

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic tensors of the outputs. Raises AttributeError if the model is not built."""
        return nest.leaves(self._tensors()[-1])

    @property
    def input(self) -> Any:
        """The symbolic tensor of the input; in another model, of the first call there."""
        return super().input if self._nodes or self._row is not None else self._tensors()[0]

    @property
    def output(self) -> Any:
        """The symbolic tensors of the outputs; in another model, of the first call there."""
        return super().output if self._nodes or self._row is not None else self._tensors()[-1]

    def note_calls(self) -> None:
        """Note the symbolic calls that the model is made of, for `input` and `output` of its layers."""
        if self.built:
            self._tensors()

    def _tensors(self) -> list[Any]:
        """The symbolic tensors of the input, and of what each layer returns."""
        first, shape = self._layers[0] if self._layers else None, self.input_shape
        if not self.built or shape is None:
            raise AttributeError(f"model {self.name!r} has no inputs and outputs before it has an Input or is built")
        with self._build_lock:
            if isinstance(first, InputLayer):
                begin = first.output
            else:
                begin = self._noted_calls[0][0].inputs[0] if self._noted_calls else None
                if begin is None or begin.shape[1:] != shape[1:]:
                    begin = Input(batch_shape=(None, *shape[1:]), dtype=self.layers[0].compute_dtype)
            same = self._shapes_between[:1] == [begin.shape]
            shapes = self._shapes_between[1:] if same else self._shapes(begin.shape)[1:]
            layers = list(zip(self.layers, shapes, strict=False))
            known = still_in_a_row(self._noted_calls, begin, layers)
            calls = vars(self)["_noted_calls"] = [*known, *calls_in_a_row(known, begin, layers)]
            for node, _ in calls[len(known) :]:
                row = node.layer._row
                if row is not None and row() is self:  # before the calls that were made since
                    node.layer._nodes.appendleft(node)
                    vars(node.layer)["_row"] = None
                else:
                    node.layer._nodes.append(node)
        return [begin, *(outputs for _, outputs in calls)]

    def add(self, layer: Layer | KerasTensor) -> None:
        """Append a layer, or begin with an `Input`.

        Parameters
        ----------
        layer : Layer or the result of `Input`
            A layer that takes one input. It is built, if the model has an Input.

        Raises
        ------
        ValueError
            If it is not a layer, has the name of another one, needs states or other arguments, or does not fit what
            the layer before it returns. The model is then as it was.
        """
        before = self._layers, self.built
        self._layers, self.built = self._with([layer]), False
        try:
            self._build_from_input()
        except BaseException:
            self._layers, self.built = before
            raise

    def pop(self) -> Layer:
        """Remove the last layer. Raises ValueError if there is none.

        Returns
        -------
        Layer
        """
        if not self.layers:
            raise ValueError(f"model {self.name!r} has no layers")
        *rest, last = self._layers
        self._layers = rest
        self.built = self.built and bool(self.layers)
        return last

    def _with(self, more: Iterable[object]) -> list[Layer]:
        """The layers with some more. Raises ValueError where one cannot be among them."""
        if not isinstance(more, Iterable):
            raise ValueError(f"layers must be a list of layers, got {type(more).__name__}")
        layers = list(self._layers)
        names = {layer.name for layer in layers}
        for layer in more:
            if isinstance(layer, KerasTensor) and layer.node is not None and isinstance(layer.node.layer, InputLayer):
                layer = layer.node.layer
            if not isinstance(layer, Layer):
                raise ValueError(f"layers must hold cyrnn layers, got {shown(layer)}")
            if isinstance(layer, InputLayer) and layers:
                raise ValueError("an Input must be the first of the layers")
            if layer.name in names:
                raise ValueError(f"layers must have different names, got {layer.name!r} twice")
            others = required_arguments(layer.call)[1:]
            if others:
                hint = ": an RNN runs a cell, put it into an RNN" if "states" in others else ""
                raise ValueError(
                    f"layers of a Sequential must take one input, got {layer.name!r} ({type(layer).__name__}), whose "
                    f"call needs {', '.join(others)} too{hint}"
                )
            if not layers and layer.first_input_shape is not None:
                layers.append(InputLayer(layer.first_input_shape))
            layers.append(layer)
            names.add(layer.name)
        check_ranks(layers)
        return layers

    def _build_from_input(self) -> None:
        first = self._layers[0] if self._layers else None
        if isinstance(first, InputLayer) and len(self._layers) > 1:
            self.build(first.batch_shape)

    def output_shapes_of_layers(self) -> list[Any]:
        return [None] * len(self.layers) if self.input_shape is None else self._shapes(self.input_shape)[1:]

    def sublayer_shapes(self, input_shape: Shape) -> list[Shape]:
        self._shapes_between = self._shapes(input_shape)
        return self._shapes_between[:-1]

    def _shapes(self, shape: Any) -> list[Any]:
        """The shape of the input, and of the output of each layer. Raises ValueError where a layer cannot follow."""
        shapes, before = [shape], list[str]()
        for layer in self.layers:
            budget.spend(1)
            with errors_name(before):
                layer.check_input_count(shape)
                shape = layer.compute_output_shape(shape)
            before = [layer.name]
            if nest.is_shape(shape):
                check_possible(f"the output of layer {layer.name!r}", shape)
            shapes.append(shape)
        return shapes

    def largest_shapes(self, shapes: Any) -> list[Any]:
        return self._shapes(shapes)[1:]

    def _make_weights(self, input_shape: Shape, values: Mapping[str, ArrayLike] | None) -> None:
        first = self._layers[0] if self._layers else None
        if not self.layers:
            raise ValueError(f"model {self.name!r} has no layers to build")
        if isinstance(first, InputLayer) and not matches(input_shape, first.batch_shape):
            raise ValueError(f"model {self.name!r} has an Input of shape {first.batch_shape}, got {input_shape}")
        with errors_name(before_unbuilt(self.layers)):
            super()._make_weights(input_shape, values)
        self._stand_for_calls()

    def _stand_for_calls(self) -> None:
        """Let the layers that were never called with symbolic tensors ask the model for their calls."""
        for layer in self.layers:
            if not layer._nodes and (layer._row is None or layer._row() is None):
                vars(layer)["_row"] = weakref.ref(self)

    # ------------------------------------------------------------ calling

    @property
    def feed(self) -> Feed | None:
        """The check of the Input, if there is one."""
        first = self._layers[0] if self._layers else None
        return Feed(first.output, [False]) if isinstance(first, InputLayer) else None

    def checked_inputs(self, inputs: ArrayLike) -> Array:
        inputs = self._fitting(inputs)
        return self.layers[0].checked_inputs(inputs) if self.layers else super().checked_inputs(inputs)

    def _fitting(self, inputs: Any) -> Any:
        """The array for the Input, if there is one; the first layer converts numbers to its own dtype."""
        feed = self.feed
        if feed is None:
            return inputs
        return (feed.arrays(inputs) if feed.is_whole else feed.views(inputs))[0]

    def predict_inputs(self, x: Any) -> list[Array]:
        feed = self.feed
        if feed is not None:
            return feed.views(x)
        begins_with_text = bool(self.layers) and getattr(self.layers[0], "takes_text", False)
        return [self.layers[0].checked_inputs(x)] if begins_with_text else super().predict_inputs(x)

    def in_structure(self, parts: list[Any], like: Any = None) -> Any:
        begins_with_input = bool(self._layers) and isinstance(self._layers[0], InputLayer)
        return parts[0] if begins_with_input else super().in_structure(parts, like)

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        feed = self.feed
        if feed is not None:
            (given,), (tensor,) = feed.specs(inputs), feed.tensors
            lengths = (n if m is None else m for n, m in zip(given.shape[1:], tensor.shape[1:], strict=True))
            inputs = KerasTensor((given.shape[0], *lengths), given.dtype)
        return super().compute_output_spec(inputs, *args, **kwargs)

    @overload  # type: ignore[override]  # it has one input
    def __call__(  # type: ignore[overload-overlap]  # a tensor refuses to be an array
        self,
        inputs: KerasTensor,
        mask: ArrayLike | KerasTensor | None = ...,
        training: bool = ...,
    ) -> KerasTensor: ...
    @overload
    def __call__(
        self, inputs: ArrayLike, mask: ArrayLike | None = ..., training: bool = ..., *, lengths: Any = ...
    ) -> Array: ...
    def __call__(
        self, inputs: ArrayLike | KerasTensor, mask: Any = None, training: bool = False, *, lengths: Any = None
    ) -> Any:
        if lengths is not None or type(inputs) is list:
            inputs, mask = self.with_mask(inputs, mask, lengths)
        in_training = training is not False and is_true("training", training)
        result = None if in_training else self.through_program(inputs, mask)
        if result is None:
            result = super().__call__(inputs, mask=mask, training=training)
            self.note_program(inputs)
        return result

    def known_inputs(self) -> tuple[Any, InputForm]:
        shape, feed = self.input_shape, self.feed
        if shape is None or not nest.is_shape(shape):
            return None, InputForm()
        length = shape[1] if feed is not None and len(shape) > 1 else None
        return self._place(shape), InputForm(() if length is None else (length,))

    def _place(self, shape: Shape) -> Place:
        """The place of inputs of this shape: those of whole numbers are converted as the Input says."""
        feed = self.feed
        return Place((None, *shape[1:]), feed.tensors[0].dtype if feed is not None and feed.is_whole else None)

    def call(self, inputs: Array, mask: Any = None, training: bool = False) -> Any:
        return self.run_calls(inputs, mask, training, wanted=Wanted.OUTPUTS)[0]

    def run_calls(self, x: Any, mask: Any, training: bool | None, wanted: Wanted) -> Results:
        x = self._fitting(x)
        shape = self.input_shape if self.built else None
        known = nest.is_shape(shape) and shape is not None and isinstance(x, np.ndarray) and len(shape) == x.ndim
        place = self._place(shape) if known and shape is not None else Place()
        masked = mask is not None
        made = self.partition(place, training, masked=masked, wanted=wanted, programs=known)
        return made.run([(x, mask)])

    def inputs_of_vjp(self, x: Any) -> tuple[list[Array | None], Any]:
        (given,), array = self.predict_inputs(x), self.checked_inputs(x)
        if not self.built:
            self.build(array.shape)
        return [array], Leaf(given, 0)

    def inner_calls(self, inputs: Any, training: bool | None) -> tuple[list[Call], Any] | None:
        if type(inputs) is not Place or (self.feed is not None and not self.feed.takes(inputs)):
            return None
        calls, place = [], inputs
        for number, layer in enumerate(self.layers):
            built_with = self._shapes_between[number + 1 : number + 2]
            output = place_after(layer, place.shape, built_with)
            calls.append(Call(layer, (place,), output, training))
            place = output
        return calls, place

    # ------------------------------------------------------------ shapes and config

    @property
    def takes_one_input(self) -> bool:
        return bool(self.layers) and self.layers[0].takes_one_input

    @property
    def output_dtype(self) -> np.dtype:
        return self.layers[-1].output_dtype if self.layers else super().output_dtype

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        return self._shapes(tuple(input_shape))[-1]

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "layers": [objects.serialize(layer) for layer in self._layers]}
        if self.input_shape is not None:
            config["build_input_shape"] = list(self.input_shape)
        return config

    @classmethod
    def arguments_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        layers = [objects.deserialize(entry, "keras.layers") for entry in config["layers"]]
        return {"layers": layers, "trainable": config.get("trainable", True), "name": config.get("name")}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        model = super().from_config(config, custom_objects)
        shape = config.get("build_input_shape") if isinstance(config, Mapping) else None
        if shape is not None and model.layers and not model.built:
            model.build(shape)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_noted_calls": ()}  # these are noted again

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.built:
            self._stand_for_calls()

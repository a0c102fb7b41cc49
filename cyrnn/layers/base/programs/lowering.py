"""Lowering: a program under construction, as the layers see it that become its ops.

A layer class that the engine has ops for has a method ``lower(lowering, inputs, mask, training, ...)``, which takes
what `call` takes, as values that the program knows, and returns what `call` returns. It refuses before it adds the
first op. Which mask comes out says `compute_mask`, or, where that computes with arrays, ``lower_mask(lowering, inputs,
mask)``; of the two the one of the lower class.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from cyrnn.activations import engine_name
from cyrnn.layers.base import nest
from cyrnn.layers.base.engine_layer import EngineLayer
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs import arguments
from cyrnn.layers.base.programs.arguments import Argument, Passed, TakesTokens
from cyrnn.layers.base.programs.forms import Forms
from cyrnn.layers.base.programs.interface import OfVectors, Program
from cyrnn.layers.base.programs.lowered import Lowered
from cyrnn.layers.base.programs.refusals import NotLoweredError, why_not
from cyrnn.layers.base.programs.values import MASK, NUMBER, TOKEN, Deferred, Outside, Symbolic, Value, width_of
from cyrnn.objects import owner

LOGITS = ("softmax", "sigmoid")  # the activations whose crossentropy is that of what they are applied to


class Lowering(Forms):
    """One program, while layers add their ops to it.

    Parameters
    ----------
    program : Program
        An empty one.
    dtype : dtype
        What it computes in.
    within_a_call : bool
        Whether the `call` of a layer runs the program, and does itself what the engine does not: see `program_of`.
    complete : bool
        Whether ops do all that there is, as gradients need it: also what is left to Python otherwise, because there
        is nothing to compute, or because NumPy takes less time.
    rounded : bool
        Whether results are rounded when the program has run: then policies of 16 bits are no reason to refuse a layer.
    """

    def __init__(
        self,
        program: Program,
        dtype: np.dtype[Any],
        within_a_call: bool = False,
        complete: bool = False,
        rounded: bool = False,
    ) -> None:
        super().__init__(program, dtype)
        self.within_a_call, self.complete, self.rounded = within_a_call, complete, rounded
        self._slots: dict[Layer, int] = {}
        self._arguments: list[Argument] = []
        self._inputs: dict[tuple[Hashable, str], Value] = {}
        self._timelines: dict[Hashable, int] = {}
        self._masks: dict[Deferred, Value] = {}
        self._given_masks: dict[tuple[Hashable, int], Value] = {}
        self._nonzero: dict[Hashable, Value] = {}
        self._masking: dict[tuple[int, float], tuple[Value, Value]] = {}
        self._carried: dict[Layer, list[Value]] = {}
        self._statistics: list[tuple[Layer, list[Value]]] = []
        self._results: dict[tuple[int, tuple[int | None, ...]], int] = {}  # numbers, by view and shape
        self._warnings: list[tuple[str, Hashable]] = []
        self._owners: list[str] = []  # of each op the name of the layer
        self.wants_logits = False  # whether what a softmax or sigmoid is applied to is asked for now
        self.logits: dict[int, Value] = {}  # that, by the view of the output

    def note_owner(self, name: str) -> None:
        """Note that the ops which were added since the last note are those of the layer of this name."""
        self._owners += [name] * (self.program.ops - len(self._owners))

    def check(self, layer: Layer, within: bool = False, method: str = "lower") -> None:
        """Check that the layer, alone or `within` another one, can be ops of this program. Raises NotLoweredError."""
        what = f"its {type(layer).__name__} {layer.name!r}: " if within else ""
        if self.within_a_call:
            return
        reason = why_not(layer, method, rounded=self.rounded)
        if reason is not None:
            raise NotLoweredError(what + reason)
        dtype = layer.dtype_policy.engine_dtype
        if dtype != self.dtype:
            around, advice = ("the layer around it", ": give both one dtype") if within else ("the program", "")
            raise NotLoweredError(f"{what}it computes in {dtype}, and {around} in {self.dtype}{advice}")

    def slot(self, layer: Layer) -> int:
        """The place of the layer's weights: one, however often it is called."""
        if layer not in self._slots:
            functions = layer.functions if isinstance(layer, EngineLayer) else (None,)
            activation, *gates = [engine_name(function) or "linear" for function in functions]
            cell = layer.engine_cell if isinstance(layer, EngineLayer) else None
            trainable = {spec.name: spec.shape for spec in layer.own_specs if layer.trainable and spec.trainable}
            if isinstance(layer, OfVectors):  # they stand for the weights
                pairs = layer.weight_of.items()
                trainable = {vector: trainable[weight] for vector, weight in pairs if weight in trainable}
            self._slots[layer] = self.program.slot(activation, trainable, cell, *gates)
        return self._slots[layer]

    # ------------------------------------------------------------ what ops read

    def numbers(self, value: Symbolic) -> Value:
        """The value as numbers that an op can read. Raises NotLoweredError where it is none, or a length is unknown."""
        if isinstance(value, Outside) and not value.is_mask:
            return self._input(value, NUMBER, arguments.Numbers(value.place, value.optional))
        if not isinstance(value, Value) or value.kind != NUMBER:
            raise NotLoweredError("its input is an array of integers or a mask")
        return value

    def moving(self, value: Symbolic) -> Value:
        """The value as numbers, of a layer that only moves them. Raises NotLoweredError for integers."""
        x = self.numbers(value)
        for place in x.moved:
            dtype = getattr(place, "dtype", None)
            if dtype not in (None, self.dtype.name):
                raise NotLoweredError(f"its output stays {dtype}, and the program computes in {self.dtype}")
        return x

    def take_exactly(self, x: Value) -> None:
        """Let the program refuse arrays of other dtypes for what x holds as it comes: the result would be another."""
        for place in x.moved:
            self.program.take_exactly(self._inputs[place, NUMBER].view)

    def tokens(self, value: Symbolic, embedding: TakesTokens | None = None) -> Value:
        """The value as tokens, of an embedding if one takes them. Raises NotLoweredError for what ops have computed."""
        if not isinstance(value, Outside) or value.is_mask:
            raise NotLoweredError("its tokens are the result of another layer")
        return self._input(value, TOKEN, arguments.Tokens(value.place, embedding))

    def mask(self, mask: Symbolic | None, x: Value) -> Value | None:
        """The mask as one that an op can read, which goes over the timesteps of x. Raises NotLoweredError."""
        if mask is None:
            return None
        if isinstance(mask, Outside) and not mask.is_mask:
            return self._given_mask(mask, x)
        found = self.mask_alone(mask)
        if found.timeline is None or found.timeline != x.timeline:
            raise NotLoweredError("its mask goes over other timesteps than its input")
        return found

    def check_mask(self, mask: Symbolic | None, x: Value) -> None:
        """Let a call's mask be checked, of a layer whose numbers do not depend on it. Raises NotLoweredError."""
        if not isinstance(mask, Deferred):  # which the program makes itself
            self.mask(mask, x)

    def _given_mask(self, mask: Outside, x: Value) -> Value:
        """An array that a layer is called with as its mask."""
        if x.timeline is None:
            raise NotLoweredError("its mask goes over timesteps, and its input has none")
        key = (mask.place, x.timeline)
        if key not in self._given_masks:
            view = self.program.input(MASK, x.timeline, 1, optional=True)
            self._arguments.append(arguments.Mask(mask.place, is_array=True))
            self._given_masks[key] = Value(x.shape[:2], view, x.timeline, MASK)
        return self._given_masks[key]

    def nonzero(self, value: Symbolic, embedding: TakesTokens | None = None) -> Deferred:
        """The mask of the tokens that are not 0, which the op is added for if something reads it."""
        place = value.place if isinstance(value, Outside) else None

        def make() -> Value:
            if place not in self._nonzero:
                tokens = self.tokens(value, embedding)
                self._nonzero[place] = self.buffer(tokens.shape, tokens.timeline, MASK)
                self.program.nonzero(tokens.view, self._nonzero[place].view)
            return self._nonzero[place]

        return Deferred(make)

    def masking(self, value: Symbolic, number: float) -> tuple[Value, Value]:
        """Sequences with zeros at the timesteps where each feature is `number`, and the mask of the others.

        Raises NotLoweredError for what is no sequence.
        """
        self.shape_of(value, 3, "batch, timesteps, features")
        x = self.numbers(value)
        key = (x.view, number)
        if key not in self._masking:
            self._masking[key] = self.buffer(x.shape, x.timeline), self.buffer(x.shape[:2], x.timeline, MASK)
            out, keep = self._masking[key]
            self.program.masking(number, x.view, out.view, keep.view)
        return self._masking[key]

    def mask_alone(self, mask: Symbolic) -> Value:
        """The mask as one that an op, or the caller, can read."""
        if isinstance(mask, Deferred):
            if mask not in self._masks:
                self._masks[mask] = mask.make()
            return self._masks[mask]
        if isinstance(mask, Outside) and mask.is_mask:
            return self._input(mask, MASK, arguments.Mask(mask.place))
        if not isinstance(mask, Value) or mask.kind != MASK:
            raise NotLoweredError("its mask is an array of numbers")
        return mask

    def _input(self, outside: Outside, kind: str, argument: Argument) -> Value:
        key = (outside.place, kind)
        if key not in self._inputs:
            shape, in_time = self.shape_of(outside), 2 if kind == NUMBER else 1
            if kind == MASK:
                shape = shape[:2]
            timed = len(shape) > in_time
            width = width_of(shape, timed)
            timeline = self._timeline(outside.place) if timed else None
            optional = outside.optional or kind == MASK
            axes: Any = shape[2 if timed else 1 :]  # whose lengths are known; see `width_of`
            view = self.program.input(kind, timeline, width, optional=optional, shape=axes)
            self._arguments.append(argument)
            self._inputs[key] = Value(shape, view, timeline, kind, (outside.place,) if kind == NUMBER else ())
        return self._inputs[key]

    def _timeline(self, place: Hashable) -> int:
        if place not in self._timelines:
            self._timelines[place] = self.program.timeline()
        return self._timelines[place]

    def dropout(self, factors: arguments.Factors) -> list[int]:
        """Two inputs for the dropout factors of a cell: for its input, and for its state."""
        views = [self.program.input(NUMBER, None, width, optional=True) for width in factors.widths]
        self._arguments += [arguments.Draw(factors, number) for number in range(2)]
        return views

    def noise(self, layer: arguments.DrawsNoise, x: Value, repeated: bool = False) -> Value:
        """What the layer draws for each element of x; `repeated`, where it is the same at all timesteps.

        Raises NotLoweredError where only the program knows how many timesteps there are.
        """
        timeline, timed = None if repeated else x.timeline, None
        axes: Any = x.shape[1 if x.timeline is None else 2 :]  # whose lengths are known; see `width_of`
        length = None if timeline is None else self.program.length_of(timeline)
        if timeline is not None and length is None:
            timed = next((place for place, known in self._timelines.items() if known == timeline), None)
            if timed is None:
                raise NotLoweredError("it draws noise for timesteps whose number is not that of an input")
        view = self.program.input(NUMBER, timeline, x.width, shape=axes)
        noise = arguments.Noise(layer, axes if length is None else (length, *axes))
        self._arguments.append(arguments.Draw(noise, 0, timed))
        shape = (*x.shape[:1], *axes) if repeated and x.timeline is not None else x.shape
        return Value(shape, view, timeline)

    # ------------------------------------------------------------ ops of several classes of layers

    def note_logits(self, name: str, out: Value, logits: Value | None = None) -> Value | None:
        """Note what an activation of this name is applied to, if that is asked for: a buffer, or `logits`."""
        if not self.wants_logits or name not in LOGITS:
            return None
        found = self.logits[out.view] = self.buffer(out.shape, out.timeline) if logits is None else logits
        return found

    def activation(self, name: str, value: Symbolic) -> Value:
        """The value with one of the engine's activations. Raises NotLoweredError."""
        shape = self.shape_of(value)
        if len(shape) < 2 or shape[-1] is None:
            raise NotLoweredError("its input has no last axis of known length")
        x = self.numbers(value)
        if name == "linear":
            return x
        out = self.buffer(x.shape, x.timeline)
        self.program.activation(name, x.view, out.view, max(1, shape[-1]))
        self.note_logits(name, out, x)
        return out

    # ------------------------------------------------------------ masks and states

    def mask_after(self, layer: Layer, inputs: Any, mask: Any) -> Any:
        """The mask for the next layer, as `Layer.next_mask` has it with arrays."""
        if layer.supports_masking:
            lower_mask = _lower_mask_of(type(layer))
            return layer.compute_mask(inputs, mask) if lower_mask is None else lower_mask(layer, self, inputs, mask)
        for part in nest.leaves(mask):
            if part is not None:
                place = part.place if isinstance(part, Outside) else None
                self._warnings.append(
                    (f"layer {layer.name!r} does not pass the mask on: the layers after it run without", place)
                )
                break
        return None

    def check_states(self, initial_state: Any, sizes: Sequence[int]) -> None:
        """Raises NotLoweredError unless the initial states are numbers of the program, one for each of these sizes."""
        given = [] if initial_state is None else nest.flatten(initial_state)
        numbers = all(isinstance(value, (Value, Outside)) and not _is_mask(value) for value in given)
        shapes = [getattr(value, "shape", None) for value in given]
        if given and (not numbers or [shape and shape[1:] for shape in shapes] != [(size,) for size in sizes]):
            raise NotLoweredError("its initial states are no tensors of the shapes that it has")

    def states(self, layer: Layer, initial_state: Any, sizes: Sequence[int]) -> list[Value]:
        """The states that a call begins with: those of its argument, or those that the layer carries; none for zeros.

        Raises NotLoweredError as `check_states` does.
        """
        self.check_states(initial_state, sizes)
        if initial_state is not None:
            return [self.numbers(value) for value in nest.flatten(initial_state)]
        if not layer.carries_states:
            return []
        if layer not in self._carried:
            self._carried[layer] = [self._state(layer, number, size) for number, size in enumerate(sizes)]
        return self._carried[layer]

    def _state(self, layer: Layer, number: int, size: int) -> Value:
        self._arguments.append(arguments.State(layer, number))  # type: ignore[arg-type]  # it carries states
        return Value((None, size), self.program.input(NUMBER, None, size, optional=True))

    def statistics(self, length: int) -> list[Value]:
        """Buffers for the mean, the variance and the count of a batch: one row for all."""
        return [Value((None, width), self.program.once(width)) for width in (length, length, 1)]

    def note_statistics(self, layer: Layer, statistics: Sequence[Value]) -> None:
        """Let the layer have these arrays, once the program has run, in the order of its calls."""
        self._statistics.append((layer, list(statistics)))

    def carry(self, layer: Layer, states: Sequence[Value]) -> None:
        """Let the layer carry these states, once the program has run; a later call in it begins with them."""
        if layer.carries_states:
            self._carried[layer] = list(states)

    # ------------------------------------------------------------ the end

    def result(self, value: Symbolic) -> int | Passed:
        """The number of the output that returns the value; for an input of the program, which place it comes from.

        Of a complete program that is an output too.
        """
        known = self.mask_alone(value) if _is_mask(value) else self.numbers(value)
        for (place, kind), read in self._inputs.items():
            if read is known and kind == NUMBER and not self.complete:
                return Passed(place, len(known.shape), self.dtype)
        rest = () if known.kind == MASK else known.shape[1 if known.timeline is None else 2 :]
        key = known.view, rest
        if key not in self._results:
            self._results[key] = len(self._results)
            self.take_exactly(known)
            self.program.output(known.view, rest)  # type: ignore[arg-type]  # see `width_of`
        return self._results[key]

    def finish(self) -> Lowered:
        """The program, ready to run."""
        kept = [*self._carried.items(), *self._statistics]
        carried: Any = [(layer, [self.result(value) for value in values]) for layer, values in kept]
        self.program.finish()
        self.note_owner(self._owners[-1] if self._owners else "")
        slots, outputs = list(self._slots), len(self._results)
        return Lowered(
            self.program, self.dtype.name, slots, self._arguments, outputs, carried, self._warnings, self._owners
        )


def _lower_mask_of(cls: type[Layer]) -> Any:
    """The class's `lower_mask`; None if it has none, or has a `compute_mask` of a class below, which overrides it."""
    found = getattr(cls, "lower_mask", None)
    is_newer = found is None or issubclass(owner(cls, "lower_mask"), owner(cls, "compute_mask"))
    return found if is_newer else None


def _is_mask(value: Symbolic) -> bool:
    return isinstance(value, Deferred) or getattr(value, "is_mask", False) or getattr(value, "kind", "") == MASK


class OfATimestep(Lowering):
    """A lowering as a layer sees it for which each timestep is a row: its values have no timesteps.

    Parameters
    ----------
    lowering : Lowering
        That of the program. They have all in common.
    timeline : int, optional
        That of the timesteps.
    """

    def __init__(self, lowering: Lowering, timeline: int | None) -> None:
        vars(self).update(vars(lowering))
        self._of = timeline

    def buffer(self, shape: Sequence[int | None], timeline: int | None = None, kind: str = NUMBER) -> Value:
        return Value(tuple(shape), self.program.buffer(self._of, width_of(shape, timed=False), kind), None, kind)

    def timeline(self, of: int | None = None, **formula: int) -> int:
        raise NotLoweredError("a timestep would have timesteps")

    def noise(self, layer: arguments.DrawsNoise, x: Value, repeated: bool = False) -> Value:
        raise NotLoweredError("it is random in training, at each timestep anew")

    def statistics(self, length: int) -> list[Value]:
        raise NotLoweredError("in training each timestep has statistics of its own")

    def transposed(self, x: Value, order: Sequence[int]) -> Value:
        raise NotLoweredError("the axes of a timestep change places")

"""A step of training as one compiled call: for models that are one program, with common losses and optimizers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from cyrnn.engine.plan import Packed, Plan, holds
from cyrnn.engine.program import packed_now, right_padded, structure_now
from cyrnn.engine.training import NOTHING, Refill, TrainingStep, gather, of_loss
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.arguments import Draw, Mask, Numbers, State, Tokens, gathered
from cyrnn.layers.base.programs.interface import OfVectors, slot_of
from cyrnn.layers.base.programs.refusals import UnfitError
from cyrnn.layers.base.programs.tape import TAPE, TapedProgram, transposed
from cyrnn.layers.base.weights import Weighted, WeightSpec, writing
from cyrnn.models.programs import gradients
from cyrnn.models.programs.batch_memory import Room, target_fits, weights_fit
from cyrnn.models.programs.flat_weights import FlatWeights, Key, Place
from cyrnn.models.programs.heads import Head, Taken, heads_of
from cyrnn.models.programs.parts import Partition, ProgramPart, Wanted
from cyrnn.optimizers import Optimizer
from cyrnn.regularizers import L1, L1L2, L2
from cyrnn.training.compiled import Compiled
from cyrnn.training.compiled_loss import is_known
from cyrnn.training.data import Batch

_MOST_ROOMS = 8
_ARGUMENTS = (Numbers, Tokens, Mask, Draw, State)  # what the inputs of a step may be
_PENALTIES: dict[type, tuple[str, ...]] = {L1: ("l1",), L2: ("l2",), L1L2: ("l1", "l2")}


class Model(gradients.Model, Protocol):
    """What a step needs of a model."""

    def checked_inputs(self, inputs: Any) -> Any: ...


@runtime_checkable
class Refilled(Protocol):
    """A layer whose weights, made ready, can follow flat ones."""

    def own_packed(self) -> Packed: ...

    def refill(self, packed: Packed, places: Mapping[str, Array]) -> Refill: ...


@runtime_checkable
class Averaging(Refilled, Protocol):
    """A layer with moving averages, of means and of variances."""

    momentum: float

    @property
    def averages(self) -> tuple[str, str]: ...


class ProgramStep:
    """A step of training of one program.

    Parameters
    ----------
    model : Model
    made : Partition
        All of the model.
    part : ProgramPart
        The program that it is.
    heads : list of Head
    optimizer : Optimizer
    made_at : int
        `structure_now`, before that.
    masks : list of bool or None
        For each input whether it has a mask: True, or None.
    """

    @classmethod
    def made(cls, model: Model, compiled: Compiled, masked: Sequence[bool]) -> Self | None:
        """The step of a model whose inputs have masks or not; None where it is more than one program, or computes
        something else."""
        made_at, optimizer, losses = structure_now(), compiled.optimizer, compiled.loss.engine_losses()
        if optimizer is None or losses is None or model.has_its_own_call:
            return None
        if not is_known(optimizer) or optimizer.compiled_rule() is None:  # a class of a user may do something else
            return None
        masks = [True if has_mask else None for has_mask in masked]
        made = model.partition_for(masks, True, TAPE, wanted=Wanted.LOSS)
        part = made.parts[0] if len(made.parts) == 1 else None
        if not isinstance(part, ProgramPart) or part.lowered.warnings:
            return None
        fits = part.lowered.takes_as_they_are({place: place.dtype for place in made.inputs})
        heads = heads_of(made, part, losses)
        if heads is None or not fits:
            return None
        step = cls(model, made, part, heads, optimizer, made_at, masks)
        return step if step.complete else None

    def __init__(
        self,
        model: Model,
        made: Partition,
        part: ProgramPart,
        heads: list[Head],
        optimizer: Optimizer,
        made_at: int,
        masks: list[bool | None],
    ) -> None:
        self.optimizer, self.made_at = optimizer, made_at
        self._model, self._made, self._heads = model, made, heads
        self._with_loss = [number for number, head in enumerate(heads) if head.loss is not None]
        self._asked: tuple[list[bool | None], bool, Any, Wanted] = (masks, True, TAPE, Wanted.LOSS)
        part.taped = part.taped or TapedProgram(part.lowered)
        self._taped: TapedProgram = part.taped
        self._arguments, self._places = part.lowered.arguments, made.inputs
        self._carries = any(isinstance(argument, State) for argument in self._arguments)
        # Whether there are inputs beside those of the model, other ones for each step.
        self._gathers = self._carries or any(isinstance(part, Draw | Mask) for part in self._arguments)
        self._dtype = np.dtype(part.lowered.dtype)
        compared = {head.compared for head in heads if head.loss is not None}
        self._route = self._taped.route((), tuple([number in compared for number in range(part.lowered.outputs)]))
        self._keys: list[Key] = model._weight_slots(trainable=True)
        carried: list[tuple[Any, list[int]]] = part.lowered.carried
        self._carried = [(layer, numbers) for layer, numbers in carried if layer.carries_states]
        self._averaged = [(layer, numbers) for layer, numbers in carried if not layer.carries_states]
        self._rooms: dict[int, Room] = {}  # by rows
        self._begun: tuple[TrainingStep, FlatWeights] | None = None
        self._fixed: list[Any] = []  # the slots of layers that are not trained, and what they held when the step began
        self._held: list[Any] = []
        self._options: Any = None  # what else the step was begun with: see `_is_changed`
        self._factors: list[Any] = []
        self._present: list[bool] = []
        self._of_rate: Any = None
        self._rate = 0.0
        self.complete = self._is_complete()
        self._penalties = [layer._specs[name].regularizer for layer, name in self._keys] if self.complete else []
        self._penalties = [penalty for penalty in self._penalties if penalty is not None]

    def _is_complete(self) -> bool:
        """Whether the program has gradients for all trainable weights, and nothing else is to be done in a step."""
        route, slots = self._route, self._taped.lowered.slots
        pairs = list(zip(route.layers, (name for _, name in route.weights), strict=True))
        layers = {*(layer for layer, _ in self._keys), *(layer for layer, _ in self._averaged)}
        return (
            bool(self._keys)
            and {(layer, _weight_of(layer, name)) for layer, name in pairs} == set(self._keys)
            and not any(name in _slopes(layer) for layer, name in pairs)
            and all(isinstance(layer, Averaging) for layer, _ in self._averaged)
            and all(isinstance(layer, Refilled) for layer in layers)
            and all(value.dtype == self._dtype for layer in layers for value in layer._values.values())
            and not any(layer in slots and layer._adds_weights for layer in layers)
            and all(isinstance(argument, _ARGUMENTS) for argument in self._arguments)
            and not any(isinstance(argument, Mask) and argument.is_array for argument in self._arguments)
            and all(_has_known_penalty(layer._specs[name]) for layer, name in self._keys)
        )

    # ------------------------------------------------------------ its beginning

    def _begin(self, inputs: tuple[Array | None, ...]) -> tuple[TrainingStep, FlatWeights]:
        """Make the compiled step, and what it moves; which inputs there are is known now."""
        lowered, route = self._taped.lowered, self._route
        model: Any = self._model
        averaged = dict.fromkeys((layer, name) for layer, _ in self._averaged for name in layer.averages)
        flat = FlatWeights(model, self.optimizer, self._keys, list(averaged), self._dtype)
        where = {layer: flat.indices(layer) for layer in flat.layers}
        self._fixed = [slot_of(layer) for layer in lowered.slots if layer not in where]
        self._held = [slot.values for slot in self._fixed]
        self._options, self._present = self.optimizer._options_at, self._present_of(inputs)
        self._factors = self._factors_now()
        forward = list[Any](packed_now(tuple([slot_of(layer) for layer in lowered.slots])) or ())
        back, refills = list[Packed](), list[Refill]()
        for number, layer in enumerate(lowered.slots):
            if layer in where:
                forward[number], refill = _of_its_own(layer, where[layer])
                refills.append(refill)
        for number, name, parts in route.slots:
            layer, packed = lowered.slots[number], forward[number]
            if layer in where and isinstance(packed, Plan):
                own = packed.own_transposed(layer._values[name], parts)
                back.append(own)
                refills.append(Refill(own, np.ascontiguousarray(where[layer][name].T)))
            else:
                back.append(transposed(packed, name, parts))
        gradients = [
            flat.places[layer, _weight_of(layer, name)]
            for (_, name), layer in zip(route.weights, route.layers, strict=True)
        ]
        step = TrainingStep(
            self._taped.taped, tuple(forward), route.program, tuple(back), self._back_inputs(inputs), flat.w, flat.g,
            [(place.first, place.shape) for place in gradients], refills,
        )  # fmt: skip
        for head in self._heads:
            if head.loss is not None:
                step.add_loss(head.compared, head.mask, head.loss.factor, *head.loss.arguments)
        for layer, numbers in self._averaged:
            mean, variance = (flat.moving[flat.averages[layer, name].part] for name in layer.averages)
            step.add_average(numbers, layer.momentum, mean, variance)
        for key, place in flat.places.items():
            self._add_segment(step, key, place)
        self._begun = step, flat
        return step, flat

    def _is_changed(self, inputs: tuple[Array | None, ...]) -> bool:
        """Whether options of the optimizer, factors of penalties or the inputs that there are have changed."""
        return (
            self._options is not self.optimizer._options_at
            or (bool(self._penalties) and self._factors != self._factors_now())
            or (self._carries and self._present != self._present_of(inputs))
        )

    def _factors_now(self) -> list[Any]:
        return [tuple(vars(penalty).values()) for penalty in self._penalties]

    def _present_of(self, inputs: tuple[Array | None, ...]) -> list[bool]:
        return [array is not None for array in inputs] if self._carries else []

    def _back_inputs(self, inputs: tuple[Array | None, ...]) -> list[int]:
        """What each input of the way back is: see `TrainingStep`."""
        kept = {storage: (output, number) for storage, output, number in self._taped._kept}
        losses = {self._heads[output].compared: number for number, output in enumerate(self._with_loss)}
        found = []
        for kind, number in self._route.inputs:
            if kind == "gradient":
                found.append(of_loss(losses[number]))
            elif kind == "value":
                output, given = kept[number]
                found.append(NOTHING if given is not None and inputs[given] is None else output)
            else:
                found.append(self._taped.taped.lengths[number] if kind == "length" else NOTHING)
        return found

    def _add_segment(self, step: TrainingStep, key: Key, place: Place) -> None:
        layer, name = key
        spec, kept = layer._specs[name], self.optimizer._state[key]
        factors = {name: float(getattr(spec.regularizer, name)) for name in _PENALTIES.get(type(spec.regularizer), ())}
        decay = self.optimizer.decay_of(layer._values[name], kept.path) if kept.decays else None
        step.add_segment(place.first, place.size, decay=decay or 0.0, constraint=_constrained(key, place), **factors)

    def _take(self, step: TrainingStep, flat: FlatWeights) -> None:
        """Take weights and slots from the layers and the optimizer: they are others than at the last step."""
        optimizer, rule = self.optimizer, self.optimizer.compiled_rule()
        assert rule is not None
        flat.take()
        shared = [float(number) for number in optimizer.shared(optimizer._updates, self._dtype).values()]
        step.set_rule(
            rule.name, flat.slots, rule.beta_1, rule.beta_2, rule.epsilon,
            clip_value=optimizer.clipvalue or 0.0, clip_norm=optimizer.clipnorm or 0.0,
            clip_global=optimizer.global_clipnorm or 0.0,
            averages=flat.of_weights, averages_begun=flat.of_weights_begun, ema_momentum=optimizer.ema_momentum,
            ema_overwrite=optimizer.ema_overwrite_frequency or 0, sums=flat.sums,
            accumulated=optimizer.gradient_accumulation_steps or 1, updates=optimizer._updates, shared=shared,
        )  # fmt: skip
        step.refill()

    # ------------------------------------------------------------ a step

    def up_to_date(self) -> bool:
        """Whether the model is still the one that the step was made of."""
        now = structure_now()
        if self.made_at != now and self._made is self._model.partition_for(*self._asked):
            self.made_at = now
        return self.made_at == now

    def gradients(self, batch: Batch) -> Taken | None:
        """Find the gradients that the next `move` follows. What they are of; None for arrays of another form."""
        rows = batch.index
        room = self._rooms.get(len(rows))
        sources = batch.known.get(room)
        if room is None or sources is None:
            if room is None or not room.fits(batch):
                room = self._made_room(batch)
                if room is None:
                    return None
            sources = room.sources(batch)
            if sources is None:
                return None
            batch.known[room] = sources
        for source, to in sources:
            of_memory = isinstance(source, np.ndarray)
            if not gather(source if of_memory else source[rows], rows if of_memory else np.arange(len(rows)), to):
                return None
        for mask, lengths in zip(room.masks, batch.lengths, strict=True):
            if mask is not None and lengths is not None:
                mask[...] = right_padded(lengths[rows], mask.shape[1])
        inputs = room.inputs
        if self._gathers:
            try:
                inputs = gathered(self._arguments, self._values(room))
            except UnfitError:
                return None
        begun = self._begun
        if begun is None or not holds(self._fixed, self._held, None) or self._is_changed(inputs):
            begun = self._begin(inputs)
        step, flat = begun
        if not flat.in_step:
            self._take(step, flat)
        losses = step.run(inputs, room.targets, room.weights)
        return None if losses is None else Taken(self._heads, batch, room, step.outputs, losses)

    def move(self) -> float:
        """Move the weights along the last gradients. The penalties on them, before it.

        Nothing has changed after an error.
        """
        assert self._begun is not None
        (step, flat), optimizer = self._begun, self.optimizer
        call, rate, attributes = optimizer._iterations + 1, self._learning_rate(), vars(optimizer)
        of_states = [(layer, [step.outputs[number] for number in numbers]) for layer, numbers in self._carried]
        carried = [(vars(layer), layer.carrying(states)) for layer, states in of_states]
        with writing:
            if not flat.in_step:  # others have set weights since the gradients were found
                self._take(step, flat)
            flat.borrow()
            try:
                penalties = step.move(rate, call, carried)
            finally:
                if step.finished:  # nothing is called here: an interrupt comes before this, or after it
                    attributes["_iterations"] = call
                    flat.of_weights_begun = step.averages_begun
        return penalties

    def _learning_rate(self) -> float:
        rate = self.optimizer._learning_rate
        if type(rate) is not float:
            return self.optimizer.learning_rate
        if rate is not self._of_rate:
            self._of_rate, self._rate = rate, float(self.optimizer.learning_rate)
        return self._rate

    def _made_room(self, batch: Batch) -> Room | None:
        """Memory for batches like this one; None for arrays of another form."""
        count = len(batch.index)
        if any(part.dtype.kind not in "fiub" for part in batch.parts):
            return None
        targets, weights = [], []
        for number in self._with_loss:
            head, target, given = self._heads[number], batch.targets[number], batch.weights[number]
            assert head.loss is not None
            sparse = head.loss.is_sparse
            if target is None or target.dtype.kind not in "fiub":
                return None
            if not target_fits(target.shape[1:], head.shape, sparse):
                return None
            if given is not None and not weights_fit(given.shape[1:], head.shape):
                return None
            targets.append(np.empty((count, *target.shape[1:]), np.int64 if sparse else self._dtype))
            weights.append(None if given is None else np.empty((count, *given.shape[1:]), self._dtype))
        x = [np.empty((count, *part.shape[1:]), part.dtype.newbyteorder("=")) for part in batch.parts]
        self._model.checked_inputs(batch.x)  # raises what is wrong
        by_place: dict[Any, Array] = dict(zip(self._places, x, strict=True))
        inputs = tuple([
            by_place[argument.place] if isinstance(argument, Numbers | Tokens) else None for argument in self._arguments
        ])  # fmt: skip
        masks = [
            None if lengths is None else np.empty(part.shape[:2], bool)
            for part, lengths in zip(x, batch.lengths, strict=bool(batch.lengths))
        ]
        room = Room(inputs, x, self._with_loss, targets, weights, masks)
        self._rooms = {**(self._rooms if len(self._rooms) < _MOST_ROOMS else {}), count: room}
        return room

    def _values(self, room: Room) -> dict[Any, Any]:
        """What is at the places of the model's inputs."""
        masks = room.masks or [None] * len(room.x)
        return dict(zip(self._places, zip(room.x, masks, strict=True), strict=True))


def _weight_of(layer: Weighted, name: str) -> str:
    """The weight that what a slot has of this name is, or follows."""
    return layer.weight_of[name] if isinstance(layer, OfVectors) else name


def _slopes(layer: Weighted) -> Mapping[str, Array]:
    """By how much what a slot has grows with weights, where that is not 1."""
    values = layer._values
    return layer.slopes(values) if isinstance(layer, OfVectors) else {}


def _of_its_own(layer: Layer, places: Mapping[str, Array]) -> tuple[Packed, Refill]:
    """The weights of a layer made ready for the step alone, and how they follow the flat ones."""
    assert isinstance(layer, Refilled)
    packed = layer.own_packed()
    return packed, layer.refill(packed, places)


def _constrained(key: Key, place: Place) -> Callable[[Array], Array] | None:
    """The constraint of a weight as a function of its flat elements; None where it has none."""
    layer, name = key
    constraint = layer._specs[name].constraint
    if constraint is None:
        return None
    return lambda flat: layer.checked_weights({name: constraint(flat.reshape(place.shape))})[name].reshape(-1)


def _has_known_penalty(spec: WeightSpec) -> bool:
    return spec.regularizer is None or type(spec.regularizer) in _PENALTIES

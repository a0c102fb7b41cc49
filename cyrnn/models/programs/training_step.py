"""A step of training as one compiled call: for models that are one program, with common losses and optimizers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from cyrnn.engine.plan import Packed, holds
from cyrnn.engine.program import packed_now, structure_now
from cyrnn.engine.training import GRADIENT, NOTHING, Refill, TrainingStep, gather
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.arguments import Dropout, Noise, Numbers, Tokens, gathered
from cyrnn.layers.base.programs.interface import slot_of
from cyrnn.layers.base.programs.tape import TAPE, NoWayBackError, TapedProgram, transposed
from cyrnn.layers.base.weights import WeightSpec, writing
from cyrnn.models.programs import gradients
from cyrnn.models.programs.flat_weights import FlatWeights, Key, Place
from cyrnn.models.programs.parts import Partition, ProgramPart, Wanted
from cyrnn.optimizers import Optimizer
from cyrnn.regularizers import L1, L1L2, L2
from cyrnn.training.compiled import Compiled
from cyrnn.training.compiled_loss import EngineLoss
from cyrnn.training.data import Batch

_MOST_ROOMS = 8
_PENALTIES: dict[type, tuple[str, ...]] = {L1: ("l1",), L2: ("l2",), L1L2: ("l1", "l2")}


class Model(gradients.Model, Protocol):
    """What a step needs of a model."""

    def checked_inputs(self, inputs: Any) -> Any: ...


@runtime_checkable
class Refilled(Protocol):
    """A layer whose weights, made ready, can follow flat ones."""

    def own_packed(self) -> Packed: ...

    def refill(self, packed: Packed, places: Mapping[str, Array]) -> Refill: ...


class Taken(NamedTuple):
    """What the gradients of a step are of, in memory that the next step changes.

    Parameters
    ----------
    loss : float
        Without penalties.
    target : array
    weights : array or None
    prediction : array
    mask : array or None
    """

    loss: float
    target: Array
    weights: Array | None
    prediction: Array
    mask: Array | None


class ProgramStep:
    """A step of training of one program.

    Parameters
    ----------
    model : Model
    made : Partition
        All of the model.
    part : ProgramPart
        The program that it is.
    prediction : int
        The number of its output.
    mask : int or None
        The number of the mask of that.
    optimizer : Optimizer
    loss : EngineLoss
    made_at : int
        `structure_now`, before that.
    """

    @classmethod
    def made(cls, model: Model, compiled: Compiled, inputs: int) -> Self | None:
        """The step of a model of so many inputs; None where it is more than one program, or computes something else."""
        made_at, optimizer, loss = structure_now(), compiled.optimizer, compiled.loss.engine_loss()
        if optimizer is None or loss is None or model.has_its_own_call or not _is_plain(optimizer):
            return None
        try:
            made = model.partition_for([None] * inputs, True, TAPE, wanted=Wanted.LOSS)
        except NoWayBackError:
            return None
        part = made.parts[0] if len(made.parts) == 1 else None
        if not isinstance(part, ProgramPart) or part.lowered.carried or part.lowered.warnings:
            return None
        if nest.is_structure(made.outputs) or made.outputs.shape is None or loss.dtype != part.lowered.dtype:
            return None
        number, mask = part.results.get(made.outputs, (None, None))
        fits = part.lowered.takes_as_they_are({place: place.dtype for place in made.inputs})
        if type(number) is not int or not isinstance(mask, int | None) or not fits:
            return None
        step = cls(model, made, part, number, mask, optimizer, loss, made_at)
        return step if step.complete else None

    def __init__(
        self,
        model: Model,
        made: Partition,
        part: ProgramPart,
        prediction: int,
        mask: int | None,
        optimizer: Optimizer,
        loss: EngineLoss,
        made_at: int,
    ) -> None:
        self.optimizer, self.loss, self.made_at = optimizer, loss, made_at
        self._model, self._made = model, made
        self._asked: tuple[list[None], bool, Any, Wanted] = ([None] * len(made.inputs), True, TAPE, Wanted.LOSS)
        part.taped = part.taped or TapedProgram(part.lowered)
        self._taped: TapedProgram = part.taped
        self._arguments, self._places = part.lowered.arguments, made.inputs
        self._draws = any(isinstance(argument, Dropout | Noise) for argument in self._arguments)
        self._dtype = np.dtype(part.lowered.dtype)
        self._output_shape = made.outputs.shape[1:]
        self._prediction, self._mask = prediction, -1 if mask is None else mask
        logits = part.logits.get(made.outputs) if loss.is_crossentropy else None
        if logits is not None:
            self.loss = loss._replace(from_logits=True)
        self._compared = prediction if logits is None else logits  # what the loss is of
        given = tuple([number == self._compared for number in range(part.lowered.outputs)])
        self._route = self._taped.route((), given)
        self._keys: list[Key] = model._weight_slots(trainable=True)
        self._rooms: dict[int, _Room] = {}  # by rows
        self._begun: tuple[TrainingStep, FlatWeights] | None = None
        self._fixed: list[Any] = []  # the slots of layers that are not trained, and what they held when the step began
        self._held: list[Any] = []
        self._of_rate: Any = None
        self._rate = 0.0
        self.complete = self._is_complete()

    def _is_complete(self) -> bool:
        """Whether the program has gradients for all trainable weights, and nothing else is to be done in a step."""
        reached = set(zip(self._route.layers, (name for _, name in self._route.weights), strict=True))
        slots = self._taped.lowered.slots
        return (
            bool(self._keys)
            and reached == set(self._keys)
            and all(isinstance(layer, Refilled) for layer, _ in self._keys)
            and all(layer._values[name].dtype == self._dtype for layer, name in self._keys)
            and not any(layer in slots and layer._adds_weights for layer, _ in self._keys)
            and all(isinstance(argument, Numbers | Tokens | Dropout | Noise) for argument in self._arguments)
            and all(_has_known_penalty(layer._specs[name]) for layer, name in self._keys)
        )

    def _begin(self, inputs: tuple[Array | None, ...]) -> tuple[TrainingStep, FlatWeights]:
        """Make the compiled step, and what it moves; which inputs there are is known now."""
        lowered, route = self._taped.lowered, self._route
        model: Any = self._model
        flat = FlatWeights(model, self.optimizer, self._keys, self._dtype)
        where = {layer: flat.indices(layer) for layer in flat.layers}
        self._fixed = [slot_of(layer) for layer in lowered.slots if layer not in where]
        self._held = [slot.values for slot in self._fixed]
        forward = list[Any](packed_now(tuple([slot_of(layer) for layer in lowered.slots])) or ())
        back, refills = [], []
        for number, layer in enumerate(lowered.slots):
            if layer in where:
                forward[number], refill = _of_its_own(layer, where[layer])
                refills.append(refill)
        for number, name in route.slots:
            layer, packed = lowered.slots[number], forward[number]
            if layer in where:
                back.append(packed.own_transposed(layer._values[name]))
                refills.append(Refill(back[-1], np.ascontiguousarray(where[layer][name].T)))
            else:
                back.append(transposed(packed, name))
        gradients = [
            flat.places[layer, name] for (_, name), layer in zip(route.weights, route.layers, strict=True)
        ]  # fmt: skip
        step = TrainingStep(
            self._taped.taped, tuple(forward), route.program, tuple(back), self._back_inputs(inputs), self._compared,
            self._prediction, self._mask, flat.w, flat.g, [(place.first, place.shape) for place in gradients], refills,
        )  # fmt: skip
        step.set_loss(*self.loss.arguments)
        for key, place in flat.places.items():
            self._add_segment(step, key, place)
        self._begun = step, flat
        return step, flat

    def _back_inputs(self, inputs: tuple[Array | None, ...]) -> list[int]:
        """What each input of the way back is: see `TrainingStep`."""
        kept = {storage: (output, number) for storage, output, number in self._taped._kept}
        found = []
        for kind, number in self._route.inputs:
            if kind == "gradient":
                found.append(GRADIENT)
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
        step.set_rule(
            rule.name, flat.slots, rule.beta_1, rule.beta_2, rule.epsilon,
            clip_value=optimizer.clipvalue or 0.0, clip_norm=optimizer.clipnorm or 0.0,
            clip_global=optimizer.global_clipnorm or 0.0,
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
        rows, target, weights = batch.index, batch.targets[0], batch.weights[0]
        room = self._rooms.get(len(rows))
        if room is None or not room.fits(batch):
            room = self._made_room(batch)
            if room is None:
                return None
        for source, to in zip(batch.parts, room.x, strict=True):
            if not gather(source, rows, to):
                return None
        pairs = [(target, room.target), (weights, room.weights)]
        if not all(gather(source, rows, to) for source, to in pairs if source is not None and to is not None):
            return None
        inputs = room.inputs if not self._draws else self._with_factors(room)
        begun = self._begun if holds(self._fixed, self._held, None) else None
        step, flat = begun or self._begin(inputs)
        if not flat.in_step:
            self._take(step, flat)
        loss = step.run(inputs, room.target, room.weights, self.loss.factor)
        return None if loss is None else Taken(loss, room.target, room.weights, *step.prediction_and_mask)

    def move(self) -> float:
        """Move the weights along the last gradients. The penalties on them, before it.

        Nothing has changed after an error.
        """
        assert self._begun is not None
        (step, flat), optimizer = self._begun, self.optimizer
        t, rate = optimizer._iterations + 1, self._learning_rate()
        with writing:
            if not flat.in_step:  # others have set weights since the gradients were found
                self._take(step, flat)
            flat.borrow()
            try:
                return step.move(rate, t)
            finally:
                if step.finished:
                    optimizer._iterations = t

    def _learning_rate(self) -> float:
        rate = self.optimizer._learning_rate
        if type(rate) is not float:
            return self.optimizer.learning_rate
        if rate is not self._of_rate:
            self._of_rate, self._rate = rate, self.optimizer.learning_rate
        return self._rate

    def _made_room(self, batch: Batch) -> "_Room | None":
        """Memory for batches like this one; None for arrays of another form."""
        count, target, weights = len(batch.index), batch.targets[0], batch.weights[0]
        if target is None or not _target_fits(target.shape[1:], self._output_shape, self.loss.is_sparse):
            return None
        if weights is not None and not _weights_fit(weights.shape[1:], self._output_shape):
            return None
        if any(part.dtype.kind not in "fiub" for part in (*batch.parts, target)):
            return None
        x = [np.empty((count, *part.shape[1:]), part.dtype.newbyteorder("=")) for part in batch.parts]
        self._model.checked_inputs(batch.x)  # raises what is wrong
        to = np.empty((count, *target.shape[1:]), np.int64 if self.loss.is_sparse else self._dtype)
        of_values = None if weights is None else np.empty((count, *weights.shape[1:]), self._dtype)
        by_place: dict[Any, Array] = dict(zip(self._places, x, strict=True))
        inputs = tuple([
            by_place[argument.place] if isinstance(argument, Numbers | Tokens) else None for argument in self._arguments
        ])  # fmt: skip
        room = _Room(inputs, x, to, of_values)
        self._rooms = {**(self._rooms if len(self._rooms) < _MOST_ROOMS else {}), count: room}
        return room

    def _with_factors(self, room: "_Room") -> tuple[Array | None, ...]:
        """The inputs of the program, with new dropout factors."""
        values = {place: (array, None) for place, array in zip(self._places, room.x, strict=True)}
        return gathered(self._arguments, values)


class _Room:
    """The memory of batches of so many rows."""

    def __init__(self, inputs: tuple[Array | None, ...], x: list[Array], target: Array, weights: Array | None) -> None:
        self.inputs, self.x, self.target, self.weights = inputs, x, target, weights

    def fits(self, batch: Batch) -> bool:
        """Whether a batch of so many rows has arrays of these shapes and dtypes."""
        of_target, weights = batch.targets[0], batch.weights[0]
        return (
            of_target is not None
            and of_target.shape[1:] == self.target.shape[1:]
            and (weights is None) == (self.weights is None)
            and (weights is None or self.weights is None or weights.shape[1:] == self.weights.shape[1:])
            and all(
                part.shape[1:] == to.shape[1:] and part.dtype == to.dtype
                for part, to in zip(batch.parts, self.x, strict=True)
            )
        )


def _target_fits(target: tuple[int, ...], output: tuple[int | None, ...], sparse: bool) -> bool:
    """Whether targets of this shape can be compared with outputs of that one as they lie; both without the batch."""
    if sparse:
        output = output[:-1]
        target = target[:-1] if len(target) == len(output) + 1 and target[-1] == 1 else target
    elif len(target) == len(output) - 1 and output[-1] == 1:
        output = output[:-1]
    elif len(output) == len(target) - 1 and target[-1] == 1:
        target = target[:-1]
    return len(target) == len(output) and all(n is None or n == m for n, m in zip(output, target, strict=True))


def _weights_fit(weights: tuple[int, ...], output: tuple[int | None, ...]) -> bool:
    """Whether weights of this shape are for rows, or for each value of a loss of outputs of that one."""
    values = output[:-1]
    weights = weights[:-1] if weights and weights[-1] == 1 and len(weights) == len(values) + 1 else weights
    return all(n == 1 for n in weights) or (
        len(weights) == len(values) and all(n is None or n == m for n, m in zip(values, weights, strict=True))
    )


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


def _is_plain(optimizer: Optimizer) -> bool:
    """Whether a step of the optimizer is its rule, and what the engine does before it."""
    other = (optimizer.use_ema, optimizer.gradient_accumulation_steps, optimizer.loss_scale_factor)
    return optimizer.compiled_rule() is not None and not any(other)


def _has_known_penalty(spec: WeightSpec) -> bool:
    return spec.regularizer is None or type(spec.regularizer) in _PENALTIES

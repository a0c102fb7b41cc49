"""Back-propagation through models: along the tapes of their programs, and the pullbacks of the layers between them."""

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from typing import Any, NamedTuple, Protocol

from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.carried import as_before_on_error
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.memory import owned
from cyrnn.layers.base.programs.arguments import Passed
from cyrnn.layers.base.programs.differentiable import TapedCall
from cyrnn.layers.base.programs.lowered import InputForm
from cyrnn.layers.base.programs.pullback import Input, Pullback, QuickVjp, pair_of, pullback_of_call
from cyrnn.layers.base.programs.refusals import UnfitError
from cyrnn.layers.base.programs.tape import TAPE, OfWeights, QuickCall, TapedProgram, add_to
from cyrnn.layers.base.programs.values import Outside
from cyrnn.models.executor import Call, Losses, Place, Values, filled, masks_of, places_of
from cyrnn.models.inputs import Leaf
from cyrnn.models.programs import operation_alone
from cyrnn.models.programs.blocks import Block
from cyrnn.models.programs.parts import Logits, Partition, ProgramPart, Results, Wanted

OfPlaces = dict[Hashable, Any]  # the gradients of what places have held: of arrays, or of structures of them
# Goes back through a part, from the gradients of its outputs to the others: with those of penalties on activities or
# not, and without those of some places.
Way = Callable[[OfPlaces, OfWeights, bool, Set[Place]], None]


class Model(Protocol):
    """What gradients need of a model."""

    @property
    def name(self) -> str: ...

    @property
    def has_its_own_call(self) -> bool: ...

    def partition_for(self, masks: Sequence[Any], training: bool, target: Any, wanted: Wanted = ...) -> Partition: ...

    def layers_within(self) -> tuple[Any, ...]: ...

    def _weight_slots(self, trainable: bool = ...) -> list[tuple[Any, str]]: ...


class CalledModel(Model, Protocol):
    """What `vjp` and `taped` need of a model beside, or of a call that stands for it."""

    def inputs_of_vjp(self, x: Any) -> tuple[list[Array | None], Any]: ...

    def known_inputs(self) -> tuple[Any, InputForm]: ...

    def note_quick_vjp(self, vjp: QuickVjp | None, training: bool) -> None: ...


def vjp(model: CalledModel, x: Any, initial_state: Any, mask: Any, training: bool) -> tuple[Any, Pullback]:
    """What a call of the model returns, and its pullback; see `Layer.vjp`."""
    if initial_state is not None:
        raise ValueError(
            f"model {model.name!r} takes no initial_state: its layers carry states, or have inputs for them"
        )
    structure = structure_now()
    made, values, taken = _forward(model, x, mask, training, Wanted.OUTPUTS)
    model.note_quick_vjp(_quick(model, made, structure), bool(training))
    outputs = owned(filled(made.outputs, values), taken.arrays, copied=False)
    return outputs, taken.pullback(outputs, [(place, values[place][0]) for place in places_of(made.outputs)])


def _quick(model: CalledModel, made: Partition, structure: int) -> QuickVjp | None:
    """What makes `vjp` of further calls; None unless they are one program of one input and one output."""
    if len(made.parts) != 1 or len(made.inputs) != 1:
        return None
    whole, slots = made.whole(structure, model.known_inputs()[1]), _trained(model, made)
    part: Any = made.parts[0]
    if whole is None or any(layer not in part.lowered.slots for layer, _ in slots):
        return None
    call = TapedCall(part.taped, whole.bound, whole.results, whole.inputs, [], slots)
    return QuickVjp(call) if QuickCall.fits(call) else None


def _trained(model: Model, made: Partition) -> list[tuple[Any, str]]:
    """The trainable weights. Lists that code of the user keeps may have other layers each time."""
    if made.trained is None or any(layer.is_custom for layer in model.layers_within()):
        made.trained = model._weight_slots(trainable=True)
    return made.trained


def taped(model: CalledModel, x: Any, mask: Any) -> tuple[Results, Pullback]:
    """What a call of the model in training returns for a loss, and its pullback.

    That takes a pair: the gradients of the outputs, and for each output that of its logits, or None.
    """
    made, values, taken = _forward(model, x, mask, True, Wanted.LOSS)
    found = made.results(values)
    results = found._replace(outputs=owned(found.outputs, taken.arrays, copied=False))
    ends: list[tuple[Any, Any]] = [(place, values[place][0]) for place in places_of(made.outputs)]
    ends += [
        (Logits(place), array) for place, array in zip(made.logits, found.logits, strict=True) if place is not None
    ]
    logits = [array for array in found.logits if array is not None]
    return results, taken.pullback((results.outputs, logits), ends)


class _Taken(NamedTuple):
    """What a pullback is made of: the arrays and the leaves of the inputs, the ways back, and more."""

    model: Model
    made: Partition
    arrays: Sequence[Array | None]
    leaves: Any
    ways: "Sequence[Way]"

    def pullback(self, outputs: Any, ends: Sequence[tuple[Any, Any]]) -> Pullback:
        """The pullback of a call that has returned this, whose arrays are in these places."""
        inputs = self.made.inputs
        structure = nest.mapped(lambda leaf: _input_of(leaf, inputs), self.leaves)
        dtype = next((part.lowered.dtype for part in self.made.programs), "float32")
        slots = _trained(self.model, self.made)
        return _PullbackOfModel(self.ways, inputs, ends, outputs, structure, (), slots, dtype)


def _forward(model: CalledModel, x: Any, mask: Any, training: bool, wanted: Wanted) -> tuple[Partition, Values, _Taken]:
    """Call the model: what it was divided in, what is in all places then, and what a pullback is made of."""
    if model.has_its_own_call:
        raise ValueError(
            f"model {model.name!r} has no gradients: its `call` is its own, and must have a `vjp` beside it"
        )
    arrays, leaves = model.inputs_of_vjp(x)
    masks = [None] * len(arrays) if mask is None else nest.leaves(mask)
    if len(masks) != len(arrays):
        raise ValueError(f"mask must hold a mask or None for each of {len(arrays)} inputs, got {len(masks)}")
    made = model.partition_for(masks, training, TAPE, wanted)
    for part in made.parts:
        if not isinstance(part, ProgramPart):
            _check_has_gradients(part, made.reasons)
    values: Values = dict(zip(made.inputs, zip(arrays, masks, strict=True), strict=True))
    losses: Losses = {}
    with as_before_on_error(model) if len(made.parts) > 1 else contextlib.nullcontext():
        ways = [_gone_through(model, part, values, losses) for part in made.parts]
    for layer, of_all_calls in losses.items():
        layer._activity_losses = of_all_calls
    return made, values, _Taken(model, made, arrays, leaves, ways)


def _input_of(leaf: Leaf, places: Sequence[Place]) -> Input:
    place = None if leaf.number is None else places[leaf.number]
    return Input(place, leaf.shape, leaf.dtype)


class _PullbackOfModel(Pullback):
    def __init__(
        self, ways: Sequence[Way], begins: Sequence[Place], ends: Sequence[tuple[Place, Any]], *args: Any
    ) -> None:
        super().__init__(*args)
        self._ways, self._begins = ways, begins
        self._ends = [(place, nest.mapped(lambda _: None, value)) for place, value in ends]

    def _back(
        self, outputs: list[Array | None], wanted: Sequence[Hashable], losses: bool
    ) -> tuple[dict[Hashable, Array], OfWeights]:
        of_places: OfPlaces = {}
        of_weights: OfWeights = {}
        unwanted = {place for place in self._begins if place not in wanted}
        flat = iter(outputs)
        for place, structure in self._ends:
            gradient = nest.mapped(lambda _: next(flat), structure)
            if any(leaf is not None for leaf in nest.leaves(gradient)):
                _add(of_places, place, gradient)
        for way in reversed(self._ways):
            way(of_places, of_weights, losses, unwanted)
        return of_places, of_weights


def _gone_through(model: Model, part: Any, values: Values, losses: Losses) -> Way:
    """Run a part of the model forward. Returns the way back."""
    if isinstance(part, ProgramPart):
        return _through_program(model, part, values)
    if not isinstance(part.layer, Layer):
        return _through_operation(part, values)
    way = _through_call(part, values)
    part.note_losses(losses)
    return way


# ---------------------------------------------------------------- a program


def _through_program(model: Model, part: ProgramPart, values: Values) -> Way:
    if part.taped is None:
        part.taped = TapedProgram(part.lowered)
    try:
        passed = part.passed(values)
        outputs, tape = part.taped.run(values)
    except UnfitError as error:
        with as_before_on_error(model):
            for call in part.calls:  # one of them raises what is wrong
                call.run(values, {})
            raise ValueError(f"model {model.name!r} has no gradients for such inputs: {error}") from None
    part.fill(values, outputs, passed)

    count = part.lowered.outputs

    def back(of_places: OfPlaces, of_weights: OfWeights, losses: bool, unwanted: Set[Place]) -> None:
        found: list[Array | None] = [None] * count
        for place, (numbers, _) in part.results.items():
            gradients = of_places.pop(place, None)
            for leaf, gradient in _pairs(numbers, gradients):
                if gradient is None or leaf is None:
                    continue
                if isinstance(leaf, (Passed, Outside)):
                    _add(of_places, leaf.place, gradient)
                else:
                    before = found[leaf]
                    found[leaf] = gradient if before is None else before + gradient
        for place, number in part.logits.items():
            found[number] = of_places.pop(Logits(place), None)
        if all(gradient is None for gradient in found):
            return
        of_inputs, weights = tape.back(found, [place for place in part.needs if place not in unwanted])
        for place, gradient in of_inputs.items():
            _add(of_places, place, gradient)
        for key, gradient in weights.items():
            add_to(of_weights, key, gradient)

    return back


# ---------------------------------------------------------------- a layer that Python calls


def _check_has_gradients(call: Any, reasons: Mapping[Call, str]) -> None:
    """Raises ValueError where it is known before the call that there are none; `reasons` say why Python calls it."""
    layer = call.layer
    if not isinstance(layer, Layer):
        reason = operation_alone.why_no_gradients(layer)
        if reason is not None or call.options:
            raise ValueError(f"{layer.class_name} {layer.name!r} has no gradients: {reason or 'it has options'}")
        return
    if not _takes(layer, call):
        raise ValueError(f"{type(layer).__name__} {layer.name!r} has no gradients: it is called with more than inputs")
    if type(layer).vjp is Layer.vjp:
        if not layer.sublayers:
            layer.vjp(None)  # which raises the error
        reason = Block(layer).why_no_gradients()
        if reason is not None:
            raise ValueError(
                f"layer {layer.name!r} has no gradients: {reasons.get(call, reason)}; it needs a `vjp` of its own"
            )


def _takes(layer: Layer, call: Call) -> bool:
    """Whether the `vjp` of the layer takes what it is called with."""
    names = {"initial_state", *layer.masks_by_argument, *layer.options_with_gradients}
    return len(call.args) <= max(1, len(layer.masks_by_argument)) and call.options.keys() <= names


def _through_operation(call: Call, values: Values) -> Way:
    (place,) = call.fills
    output, through = operation_alone.gone_through(call, values)
    values[place] = (output, None)

    def back(of_places: OfPlaces, of_weights: OfWeights, losses: bool, unwanted: Set[Place]) -> None:
        gradient = of_places.pop(place, None)
        for other, found in ({} if gradient is None else through(gradient)).items():
            _add(of_places, other, found)

    return back


def _through_call(call: Call, values: Values) -> Way:
    layer, states = call.layer, call.options.get("initial_state")
    first = layer.inputs_of_call(call.args, call.options)
    options = {name: filled(call.options[name], values) for name in layer.options_with_gradients & call.options.keys()}
    given = filled(first, values)
    mask = masks_of(first, values) if call.mask is None else filled(call.mask, values)
    begun = None if states is None else filled(states, values)
    result = layer.vjp(given, initial_state=begun, mask=mask, training=bool(call.training), **options)
    output, pullback = pair_of(result, layer)
    pullback, structure = pullback_of_call(pullback, layer, output, given, begun), nest.mapped(lambda _: None, output)
    next_mask = layer.next_mask(given, mask)
    if isinstance(call.outputs, list):
        flat, masks = nest.leaves(output), nest.leaves(next_mask)
        masks += [None] * (len(flat) - len(masks))
        values.update(zip(call.outputs, zip(flat, masks, strict=False), strict=True))
    else:
        values[call.outputs] = (output, next_mask)
    weights = layer._weight_slots(trainable=True)

    def back(of_places: OfPlaces, of_weights: OfWeights, losses: bool, unwanted: Set[Place]) -> None:
        if isinstance(call.outputs, list):
            dy = nest.filled(structure, [of_places.pop(place, None) for place in call.outputs])
        else:
            dy = of_places.pop(call.outputs, None)
        if not (losses and pullback.penalizes) and all(gradient is None for gradient in nest.leaves(dy)):
            return
        wanted = any(place not in unwanted for place in places_of(first))
        found = pullback.of_call(dy, wanted, losses)
        for place, gradient in _pairs(first, found.inputs):
            if type(place) is Place and gradient is not None:
                _add(of_places, place, gradient)
        for place, gradient in zip(nest.leaves(states), found.initial_state, strict=False):
            if type(place) is Place:
                _add(of_places, place, gradient)
        for key, gradient in zip(weights, found.weights, strict=True):
            add_to(of_weights, key, gradient)

    return back


# ---------------------------------------------------------------- gradients at places


def _pairs(structure: Any, gradients: Any) -> list[tuple[Any, Any]]:
    """The leaves of a structure with their gradients; None where there are none."""
    leaves = nest.leaves(structure)
    return list(zip(leaves, [None] * len(leaves) if gradients is None else nest.leaves(gradients), strict=True))


def _add(of_places: OfPlaces, place: Hashable, gradient: Any) -> None:
    before = of_places.get(place)
    if before is None:
        of_places[place] = gradient
    elif not nest.is_structure(before):
        of_places[place] = before + gradient
    else:
        pairs = zip(nest.leaves(before), nest.leaves(gradient), strict=True)
        of_places[place] = nest.filled(before, [b if a is None else a if b is None else a + b for a, b in pairs])

"""Steppers of models, and models for C: of those that are one program, where no timestep needs a later one."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from cyrnn.engine.plan import Packed
from cyrnn.engine.program import packed_now, structure_now
from cyrnn.engine.runner import NotSteppableError, model_capsule
from cyrnn.engine.threads import checked_count
from cyrnn.layers.base import nest
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.alone import CallProgram
from cyrnn.layers.base.programs.arguments import Mask, Numbers, Tokens
from cyrnn.layers.base.programs.interface import ENGINE, lowering_to
from cyrnn.layers.base.programs.lowered import Lowered
from cyrnn.layers.recurrent.stepper import Names, Stepper, checked_batch
from cyrnn.models.executor import Place
from cyrnn.models.model_stepper import ModelStepper, StepForm
from cyrnn.models.programs.parts import Partition


class Stepped(Protocol):
    """What a stepper needs of a model."""

    built: bool

    @property
    def name(self) -> str: ...

    @property
    def layers(self) -> list[Layer]: ...

    @property
    def output_names(self) -> list[str]: ...

    @property
    def has_its_own_call(self) -> bool: ...

    def known_inputs(self) -> tuple[Any, tuple[Any, ...]]: ...

    def partition(self, inputs: Any, training: bool | None = False, *, masked: bool = False) -> Partition: ...


class _Steps(NamedTuple):
    """What a runner is made of."""

    program: Any
    packed: Sequence[Packed]
    names: Names
    shapes: list[tuple[int, ...]]
    order: list[int]
    form: StepForm


def stepper_of(model: Stepped, batch_size: int, initial_state: Any, threads: int) -> Stepper:
    """What the model's `stepper` makes. Raises ValueError where it has none; the text names the layer."""
    rows, together = checked_batch(batch_size), checked_count("threads", threads)
    steps = _steps_of(model)
    try:
        facts = (steps.program, steps.packed, rows, steps.names, steps.shapes, steps.order, together, None, None, True)
        stepper = Stepper(*facts) if steps.form.is_that_of(steps.program) else ModelStepper(*facts, steps.form)
    except NotSteppableError as error:
        raise _refused(model, error, steps) from None
    if initial_state is not None:
        stepper.begin_with(initial_state)
    return stepper


def capsule_of(model: Stepped) -> Any:
    """The ``cyrnn_model`` of the model, as it is now, in a capsule. Raises ValueError as `stepper_of` does."""
    steps = _steps_of(model)
    try:
        return model_capsule(steps.program, steps.packed, steps.names, steps.order)
    except NotSteppableError as error:
        raise _refused(model, error, steps) from None


def _refused(model: Stepped, error: NotSteppableError, steps: _Steps) -> ValueError:
    who = f"layer {steps.names[2][error.op]!r}" if error.op >= 0 else "it"
    return ValueError(f"model {model.name!r} cannot be stepped: {who} {error.reason}")


def _steps_of(model: Stepped) -> _Steps:
    if not model.built:
        raise ValueError(f"model {model.name!r} is not built yet: call it or build(input_shape) first")
    whole = _program_of(model)
    lowered, inputs = whole.lowered, list(whole.inputs)
    if any(isinstance(argument, Mask) and argument.is_array for argument in lowered.arguments):
        raise ValueError(
            f"model {model.name!r} cannot be stepped: an input is the mask of a layer, and steps have none"
        )
    input_names = getattr(model, "input_names", ["inputs"])
    read = [_reading(model, lowered, *pair) for pair in zip(inputs, input_names, strict=True)]
    order = [index for index in read if index is not None]
    order += [index for index in range(len(lowered.arguments)) if index not in order]
    names = [""] * len(lowered.arguments)
    for index, name in zip(read, input_names, strict=True):
        if index is not None:
            names[index] = name
    returned = _output_names(model, len(nest.leaves(whole.results)))
    output_names = [*returned, *[""] * (lowered.outputs - len(returned))]  # the rest are states that are carried
    shapes = [_shape_of(argument) for argument in lowered.arguments]
    numbers = tuple(-1 if index is None else index for index in read)
    form = StepForm(nest.filled(model.known_inputs()[0], input_names), numbers, whole.results)
    return _Steps(lowered.program, _packed(whole), (names, output_names, lowered.owners), shapes, order, form)


def _output_names(model: Stepped, count: int) -> list[str]:
    """For each of the outputs the name of the layer that returns it."""
    names = model.output_names
    return names if len(names) == count else [model.layers[-1].name] * count


def _program_of(model: Stepped) -> CallProgram:
    """The one program that the model is, if it can be with optional masks. Raises ValueError where it is none."""
    what = f"model {model.name!r} cannot be stepped"
    if model.has_its_own_call:
        raise ValueError(f"{what}: it has a `call` of its own, which a stepper does not know")
    places, _ = model.known_inputs()
    if places is None:
        raise ValueError(f"{what}: the shape of its inputs is not known")
    with lowering_to(ENGINE):
        for masked in (True, False):
            now = structure_now()
            partition = model.partition(places, None, masked=masked)
            whole = partition.whole(now)
            if whole is not None and nest.leaves(whole.results) == list(range(len(nest.leaves(whole.results)))):
                return whole
    raise ValueError(f"{what}: {_why_not_one(model, partition)}")


def _why_not_one(model: Stepped, partition: Partition) -> str:
    """Why the calls are not one program, as a call with arrays takes it."""
    for layer, reason in partition.cuts:
        return f"the engine does not compute layer {layer!r}: {reason}"
    names = dict(zip(partition.inputs, getattr(model, "input_names", ["inputs"]), strict=True))
    programs = partition.programs
    if len(programs) != 1:
        dtypes = sorted({part.lowered.dtype for part in programs})
        return f"its layers compute in {' and '.join(dtypes)}" if len(dtypes) > 1 else f"it is {len(programs)} programs"
    (part,) = programs
    for text, _ in part.lowered.warnings:
        return text
    for place in partition.inputs:
        if not part.lowered.takes_as_they_are({place: place.dtype}):
            return f"its input {names[place]!r} is {place.dtype}, and is converted to {part.lowered.dtype}"
    flat = nest.leaves(nest.mapped(lambda place: part.results.get(place, (place, None))[0], partition.outputs))
    for number, leaf in enumerate(flat):
        source = getattr(leaf, "place", leaf)
        if source in names:
            return f"it returns its input {names[source]!r} as it is"
        if leaf in flat[:number]:
            return f"it returns the output of layer {_output_names(model, len(flat))[number]!r} twice"
    return "a call of it takes more than one program"


def _reading(model: Stepped, lowered: Lowered, place: Any, name: str) -> int | None:
    """The number of the input of the program that is the array of a place; None where nothing reads it."""
    found = [
        index
        for index, argument in enumerate(lowered.arguments)
        if isinstance(argument, (Numbers, Tokens)) and argument.place is place
    ]
    if len(found) > 1:
        raise ValueError(f"model {model.name!r} cannot be stepped: it takes input {name!r} as numbers and as tokens")
    return found[0] if found else None


def _shape_of(argument: Any) -> tuple[int, ...]:
    """The axes of a row, or of one of its timesteps."""
    if isinstance(argument, Mask) or not isinstance(getattr(argument, "place", None), Place):
        return ()
    shape = argument.place.shape
    timed = len(shape) > (2 if isinstance(argument, Numbers) else 1)
    return tuple(shape[2 if timed else 1 :])


def _packed(whole: CallProgram) -> Sequence[Packed]:
    """The weights of all layers at one moment, made ready."""
    while True:
        packed = packed_now(tuple(whole.target.slot(layer) for layer in whole.lowered.slots))
        if packed is not None:
            return packed

"""Layers whose calls are programs of the engine."""

from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cyrnn.engine.program import structure_now
from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.programs.alone import CallProgram, program_of
from cyrnn.layers.base.programs.bindable import Bindable
from cyrnn.layers.base.programs.differentiable import Differentiable
from cyrnn.layers.base.programs.interface import current_target
from cyrnn.layers.base.programs.refusals import NotLoweredError, UnfitError, why_not
from cyrnn.layers.base.signatures import accepted
from cyrnn.layers.base.symbolic import KerasTensor

_KEPT = 16  # shapes of which is known that there are no programs for them


class ProgramLayer(Differentiable, Bindable):
    """A layer that the engine has ops for: it has a method `lower`.

    A call takes the program of the layer as long as that is up to date, and its arguments are arrays of the engine's
    types that fit. Other calls check and convert their arguments first, or make the program anew.
    """

    _program: CallProgram | None = None  # of the last call in inference; it may be out of date
    _known_program: CallProgram | None = None  # that a layer's own `call` has run last
    _no_programs: tuple[int, frozenset[Any]] = (0, frozenset())  # the structure, and what there are none for in it

    @overload
    def __call__(self, inputs: KerasTensor, *args: Any, **kwargs: Any) -> KerasTensor: ...
    @overload
    def __call__(self, inputs: ArrayLike, *args: Any, **kwargs: Any) -> NDArray[Any]: ...
    def __call__(self, inputs: ArrayLike | KerasTensor, *args: Any, **kwargs: Any) -> Any:
        bound = self._bound
        if bound is not None and not args and not kwargs:
            result = bound.call(inputs)
            if result is not None:
                return result
        return super().__call__(inputs, *args, **kwargs)

    def computed(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        in_training = kwargs.get("training") and self.depends_on_training
        if not args and not in_training and kwargs.keys() <= {"mask", "training"}:
            program = self.program_for(np.shape(x))
            if program is not None:
                try:
                    return program.run(x, kwargs.get("mask"))
                except UnfitError:  # the layer's own `call` raises what is wrong, or takes it
                    pass
        return super().computed(x, *args, **kwargs)

    @property
    def depends_on_training(self) -> bool:
        """Whether a call in training may compute something else than one in inference."""
        return bool(accepted(type(self).call, training=True))

    def note_program(self, inputs: Any) -> None:
        if isinstance(inputs, np.ndarray):
            self.program_for(inputs.shape)

    def program_for(self, shape: Shape) -> CallProgram | None:
        """The program of a call in inference with inputs of this shape; None where Python computes it."""
        target = current_target()
        if target is None:
            return None
        made_at, known = structure_now(), (None, *shape[1:])
        shapes = [(None, None, *shape[2:]), known] if len(shape) > 2 else [known]  # some ops must know the timesteps
        found = (self._program_of((target, shape), made_at) for shape in shapes)
        return next((program for program in found if program is not None), None)

    def _program_of(self, wanted: tuple[Any, Shape], made_at: int) -> CallProgram | None:
        """The program for a target and a shape, made if there is one and it is not known."""
        program, missing = self._program, self._no_programs
        if program is not None and program.is_for(wanted, made_at):
            return program
        if missing[0] == made_at and wanted in missing[1]:
            return None
        try:
            program = self.made_program(*wanted, made_at)
        except NotLoweredError:
            others = missing[1] if missing[0] == made_at and len(missing[1]) < _KEPT else frozenset()
            vars(self)["_no_programs"] = (made_at, others | {wanted})
            return None
        program.made_for = wanted
        vars(self).update(_program=program, _bound=program.bound)
        return program

    def made_program(self, target: Any, shape: Shape, made_at: int) -> CallProgram:
        """The program for inputs of this shape. Raises NotLoweredError where there is none."""
        reason = why_not(self)
        if reason is not None:
            raise NotLoweredError(reason)
        return program_of(self, shape, target, state_sizes=self.flat_state_sizes, made_at=made_at)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_program": None, "_known_program": None, "_no_programs": (0, frozenset())}

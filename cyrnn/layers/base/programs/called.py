"""Layers whose calls are programs of the engine."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.engine.program import structure_now
from cyrnn.layers.base.arguments import Shape
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.alone import CallProgram, program_of
from cyrnn.layers.base.programs.interface import current_target
from cyrnn.layers.base.programs.refusals import NotLoweredError, UnfitError, why_not


class ProgramLayer(Layer):
    """A layer that the engine has ops for: it has a method `lower`.

    A call takes the program of the layer as long as that is up to date, and its arguments are arrays of the engine's
    types that fit. Other calls check and convert their arguments first, or make the program anew.
    """

    _program: CallProgram | None = None  # of the last call in inference; it may be out of date
    _known_program: CallProgram | None = None  # that a layer's own `call` has run last
    _no_program_of: Any = None  # the structure and shape for which there is none

    def __call__(self, inputs: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        program = self._program
        if program is not None and not args and not kwargs:
            result = program.bound.call(inputs)
            if result is not None:
                return result if program.is_plain else program.finished(result)
        return super().__call__(inputs, *args, **kwargs)

    def computed(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs.get("training") and kwargs.keys() <= {"mask", "training"}:
            program = self.program_for(np.shape(x))
            if program is not None:
                try:
                    return program.run(x, kwargs.get("mask"))
                except UnfitError:  # the layer's own `call` raises what is wrong, or takes it
                    pass
        return super().computed(x, *args, **kwargs)

    def program_for(self, shape: Shape) -> CallProgram | None:
        """The program of a call in inference with inputs of this shape; None where Python computes it."""
        target = current_target()
        if target is None:
            return None
        made_at, rest = structure_now(), (target, (None, None, *shape[2:]) if len(shape) > 2 else (None, *shape[1:]))
        program = self._program
        if program is not None and program.is_for(rest, made_at):
            return program
        if self._no_program_of == (made_at, rest):
            return None
        try:
            program = self.made_program(target, rest[1], made_at)
        except NotLoweredError:
            vars(self)["_no_program_of"] = (made_at, rest)
            return None
        program.made_for = rest
        vars(self)["_program"] = program
        return program

    def made_program(self, target: Any, shape: Shape, made_at: int) -> CallProgram:
        """The program for inputs of this shape. Raises NotLoweredError where there is none."""
        reason = why_not(self)
        if reason is not None:
            raise NotLoweredError(reason)
        return program_of(self, shape, target, made_at=made_at)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_program": None, "_known_program": None, "_no_program_of": None}

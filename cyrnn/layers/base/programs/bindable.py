"""Layers and models whose calls in inference may be one program, which the engine then calls at once."""

from typing import Any

from cyrnn.engine.program import Bound
from cyrnn.layers.base.layer import Layer


class Bindable(Layer):
    """A layer, or a model, with the program that its last call was found to be."""

    _bound: Bound | None = None  # it may be out of date

    def through_program(
        self, inputs: Any, mask: Any = None, nominal_batch: int = 0, num_threads: int = 0, out: Any = None
    ) -> Any:
        """What a call in inference returns, where it is one program and its arguments fit; else None.

        Parameters
        ----------
        inputs, mask
            As in a call.
        nominal_batch, num_threads, out
            See the engine's `Bound`.
        """
        bound = self._bound
        return None if bound is None else bound.call(inputs, mask, self.states, nominal_batch, num_threads, out)

    def note_program(self, inputs: Any) -> None:
        """Find the program, if there is one, after a call that could not take it."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_bound": None}  # it is found again

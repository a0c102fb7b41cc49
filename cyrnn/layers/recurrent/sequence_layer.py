"""How a layer over sequences is called: with an initial state and a mask, which are checked before anything is made."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array, Shape, is_true
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.called import ProgramLayer
from cyrnn.layers.base.symbolic import KerasTensor


class SequenceLayer(ProgramLayer):
    """Base of `RNN` and `Bidirectional`. Sequences are (batch, timesteps, ...), or time-major where a layer says so."""

    return_sequences: bool

    @property
    def time_major(self) -> bool:
        """Whether sequences, masks and outputs are (timesteps, batch, ...), as a config of Keras 2 may say."""
        return False

    @property
    def outputs_of_sequences(self) -> int:
        """How many outputs come before the states."""
        return 1

    def checked_call(self, sequences: Array, initial_state: Any, mask: ArrayLike | None) -> Any:
        """The arguments of a call, checked. Raises ValueError and TypeError before anything is made or moved."""
        raise NotImplementedError(f"{type(self).__name__} has no `checked_call`")

    def check_axes(self, shape: Shape) -> None:
        """Raises ValueError for the shape of what is no sequences, which names the layer."""
        raise NotImplementedError(f"{type(self).__name__} has no `check_axes`")

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a tensor refuses to be an array
        self, sequences: KerasTensor, initial_state: Any = ..., mask: Any = ..., training: bool = ...
    ) -> KerasTensor: ...
    @overload
    def __call__(
        self,
        sequences: ArrayLike,
        initial_state: Any = ...,
        mask: ArrayLike | None = ...,
        training: bool = ...,
        *,
        lengths: ArrayLike | None = ...,
    ) -> Array: ...
    def __call__(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: ArrayLike | None = None,
        training: bool = False,
        *,
        lengths: ArrayLike | None = None,
    ) -> Any:
        bound = self._bound
        if lengths is not None:
            mask = self.mask_for(sequences, mask, lengths)
        if bound is not None and (training is False or not is_true("training", training)):
            result = bound.call(sequences, mask, self.states if initial_state is None else initial_state)
            if result is not None:
                return result
        result = Layer.__call__(self, sequences, initial_state=initial_state, mask=mask, training=training)
        self.note_program(sequences)
        return result

    def note_program(self, inputs: Any) -> None:
        if isinstance(inputs, np.ndarray) and inputs.ndim == 3:
            self.program_for(inputs.shape)

    def call_checked(self, x: Array, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if self.time_major and mask is not None:
            mask = np.asarray(mask).swapaxes(0, 1)
        if not self.built:  # errors come before anything is made
            self.checked_call(x, initial_state, mask)
            self.build((x.shape[1], x.shape[0], *x.shape[2:]) if self.time_major else x.shape)
        result = self.call(x, initial_state, mask=mask, training=training)
        self._record_activity(result)
        if not (self.time_major and self.return_sequences):
            return result
        parts, count = result if isinstance(result, tuple) else (result,), self.outputs_of_sequences
        parts = (*(output.swapaxes(0, 1) for output in parts[:count]), *parts[count:])
        return parts if isinstance(result, tuple) else parts[0]

    def _check_batch_first(self) -> None:
        """Raises ValueError where there are no gradients because of the order of axes."""
        if self.time_major:
            raise ValueError(f"layer {self.name!r} has no gradients: its sequences have the batch on their second axis")

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(inputs, KerasTensor):
            self.check_axes(inputs.shape)
        initial_state = args[0] if args else kwargs.get("initial_state")
        if initial_state is not None:
            self._check_symbolic_states(inputs, initial_state)
        return super().compute_output_spec(inputs, *args, **kwargs)

    def _check_symbolic_states(self, sequences: Any, initial_state: Any) -> None:
        """Raises the errors of a call with states of these shapes, unless these would be huge."""
        sizes = [size for part in self.layers_within() for size in nest.flatten(getattr(part, "state_size", ()))]
        if any(isinstance(size, int) and size > symbolic.MOST_ELEMENTS for size in sizes):
            return  # the config of a file may name any number; its weights are compared with it before they are made
        batch, dtype = symbolic.common_batch((sequences, initial_state)), self.dtype_policy.engine_dtype

        def zeros(tensor: Any) -> Any:
            if not isinstance(tensor, KerasTensor):
                return tensor
            # Never integers, which would be converted: so it stays one zero in memory, however long the axes are.
            return symbolic.placeholder(KerasTensor(tensor.shape, dtype.name), dtype, batch)

        x, states = nest.mapped(zeros, [sequences, initial_state])
        if all(np.size(state) <= symbolic.MOST_ELEMENTS for state in nest.leaves(states)):
            self.checked_call(self.checked_inputs(x), states, None)

    def compute_output_shape(self, input_shape: Sequence[int | None], initial_state_shape: Any = None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `compute_output_shape`")

"""Models that are calls of layers, one after the other or in a graph: how these are run, and what is kept for it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cyrnn import objects
from cyrnn.engine.program import structure_now
from cyrnn.layers.base import nest, symbolic
from cyrnn.layers.base.arguments import Array
from cyrnn.layers.base.carried import carried_states, put_back
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.programs.interface import Target
from cyrnn.layers.base.programs.lowered import InputForm
from cyrnn.layers.base.programs.refusals import why_not
from cyrnn.layers.base.samples.sequences import padded
from cyrnn.models import executor
from cyrnn.models.executor import Call, Place
from cyrnn.models.inputs import Feed
from cyrnn.models.model import ModelOfLayers
from cyrnn.models.programs import partition
from cyrnn.models.programs.kept import KeptPartitions
from cyrnn.models.programs.parts import Partition, Results, Wanted

if TYPE_CHECKING:
    from cyrnn.layers.recurrent.stepper import Stepper  # imported where a model is stepped

_WAYS = ("__call__", "call", "inner_call", "checked_inputs", "call_checked", "computed", "compute_mask", "next_mask")


def _vjp_of_block(layer: Layer, x: Any, training: bool) -> tuple[Any, Any]:
    from cyrnn.models.programs import block_alone

    return block_alone.vjp(layer, x, training)


symbolic.give_vjp(_vjp_of_block)


class ModelOfCalls(ModelOfLayers):
    """Base of the models whose `call` is a list of calls of layers."""

    _parts_at: int = -1  # the structure with which the model is not one program

    def inner_calls(self, inputs: Any, training: bool | None) -> tuple[list[Call], Any] | None:
        """The calls that a call of the model makes.

        Parameters
        ----------
        inputs : Place, or a structure of places
            The argument of the call.
        training : bool, optional
            None leaves it to the calls of the graph.

        Returns
        -------
        calls : list of Call
        outputs : structure of Place
            Where the outputs are then. Instead of both None, where the model itself must be called: which input is
            which, or of what dtype, is not known before there are arrays.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `inner_calls`")

    def inner_calls_of(self, call: Call) -> tuple[list[Call], Any] | None:
        """The calls that a call in another model makes, and the places of its outputs; None where it has to be made."""
        alone = len(call.args) == 1 and not call.options
        return self.inner_calls(call.args[0], call.training) if alone else None

    def why_not_replaced(self) -> str | None:
        """Why calls of the model in another one are not replaced by the calls that it makes; None if they are."""
        return why_not(self, "inner_calls")

    def note_program(self, inputs: Any) -> None:
        if not all(isinstance(array, np.ndarray) for array in nest.leaves(inputs)):
            return
        now = structure_now()
        known = (self._bound is not None and self._bound.up_to_date) or self._parts_at == now
        if known or not self.built or type(self)._override is not None or executor.current_target() is None:
            return
        places, form = self.known_inputs()
        found = None
        for masked in (True, False):
            if places is not None and found is None:
                found = self.partition(places, None, masked=masked).whole(now, form)
        if found is not None and found.draws:  # a layer was called in training, and `predict` asks for none
            found = None
        vars(self).update(_bound=found and found.bound, _parts_at=now if found is None else -1)

    def known_inputs(self) -> tuple[Any, InputForm]:
        """Places for the inputs, in their structure, or None if their shapes are not known; and how a call has them."""
        raise NotImplementedError(f"{type(self).__name__} has no `known_inputs`")

    def known_partition(self) -> Partition | None:
        if self.has_its_own_call or not self.built:
            return None
        places, _ = self.known_inputs()
        return None if places is None else self.partition(places, None)

    def run_calls(self, x: Any, mask: Any, training: bool | None, wanted: Wanted) -> Results:
        """What a call returns, of inputs that were checked."""
        raise NotImplementedError(f"{type(self).__name__} has no `run_calls`")

    def call_and_mask(self, x: Any, mask: Any, training: bool | None) -> tuple[Any, Any]:
        if self.has_its_own_call:
            return super().call_and_mask(x, mask, training)  # type: ignore[arg-type]  # its `call` may take None
        found = self.run_calls(x, mask, training, wanted=Wanted.MASKS)
        return found.outputs, found.masks

    @property
    def has_its_own_call(self) -> bool:
        """Whether a custom subclass says what a call does, or which mask comes out."""
        cls = type(self)
        if cls._override is None and "call" not in vars(self):
            return False
        owners = (objects.owner(cls, way) for way in _WAYS)
        return "call" in vars(self) or any(owner.__module__.partition(".")[0] != "cyrnn" for owner in owners)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the output, for several outputs a structure of masks. The layers are run for it."""
        before = carried_states(self)
        try:
            return self.run_calls(inputs, mask, False, wanted=Wanted.MASKS).masks
        finally:
            put_back(before)

    # ------------------------------------------------------------ sequences of unequal length

    @property
    def feed(self) -> Feed | None:
        """The check of the inputs; None where the model has no Input."""
        raise NotImplementedError(f"{type(self).__name__} has no `feed`")

    @property
    def known_input_shape(self) -> Any:
        feed = self.feed
        if feed is None:
            return super().known_input_shape
        shapes = [tensor.shape for tensor in feed.tensors]
        return shapes[0] if len(shapes) == 1 else shapes

    def with_mask(self, inputs: Any, mask: Any, lengths: Any) -> tuple[Any, Any]:
        """The inputs of a call, where they are sequences in a list as one array; and their mask, for these or for
        lengths. Raises ValueError and TypeError for what does not fit."""
        if type(inputs) is not np.ndarray:
            inputs, lengths = padded(self, inputs, lengths)
        return inputs, self.mask_for(inputs, mask, lengths)

    def arrays_for_lengths(self, inputs: Any) -> list[Any]:
        return super().arrays_for_lengths(inputs) if self.feed is None else self.feed.matched(inputs)

    def lengths_of_inputs(self, lengths: Any, count: int) -> Sequence[Any]:
        feed = self.feed
        if feed is None or count == 1:
            return super().lengths_of_inputs(lengths, count)
        if isinstance(lengths, dict):
            lengths = {**dict.fromkeys(feed.keys), **lengths}
        return feed.matched(lengths, "lengths")

    # ------------------------------------------------------------ gradients

    def vjp(self, x: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any]:
        from cyrnn.models.programs import gradients

        again = self.vjp_again(x, initial_state, mask, bool(training))
        return gradients.vjp(self, x, initial_state, mask, training) if again is None else again

    def inputs_of_vjp(self, x: Any) -> tuple[list[Array | None], Any]:
        """The arrays for the inputs, in their order; and the structure of x with a `Leaf` for each array."""
        raise NotImplementedError(f"{type(self).__name__} has no `inputs_of_vjp`")

    def taped(self, x: Any, mask: Any = None) -> tuple[Results, Any]:
        from cyrnn.models.programs import gradients

        return gradients.taped(self, x, mask)

    def compiled_step(self, compiled: Any, masked: tuple[bool, ...] = ()) -> Any:
        from cyrnn.models.programs.training_step import ProgramStep

        places, _ = self.known_inputs()
        if places is None:
            return None
        return ProgramStep.made(self, compiled, masked or (False,) * len(executor.places_of(places)))

    def called(self, x: Any, mask: Any = None) -> Results:
        return self.run_calls(x, mask, False, wanted=Wanted.LOSS)

    def shapes_of_outputs(self, shapes: list[Any], like: Any) -> list[tuple[int, ...]] | None:
        if self.has_its_own_call or any(layer.is_custom for layer in self.layers_within()):
            return None  # these would be called for it
        one = len(shapes) == 1 and not isinstance(self.input_shape, dict)
        outputs = self.compute_output_shape(shapes[0] if one else self.in_structure(shapes, like))
        found: list[tuple[int, ...]] = nest.leaves_of_shapes(outputs)
        return None if any(None in shape for shape in found) else found

    def tables_of_inputs(self) -> list[tuple[int, Any]]:
        from cyrnn.models.training.tokens import tables_of_inputs

        return tables_of_inputs(self)

    def partition_for(
        self, masks: Sequence[Any], training: bool, target: Target, wanted: Wanted = Wanted.OUTPUTS
    ) -> Partition:
        """The partition for a call with these masks, of which some are None."""
        open_training = None if self.keeps_training_open and not training else bool(training)
        places, _ = self.known_inputs()
        masked: Any = tuple(mask is not None for mask in masks)
        if len(masked) == 1 and not isinstance(places, (list, tuple, dict)):
            masked = masked[0]
        return self.partition(places, open_training, masked=masked, wanted=wanted, target=target)

    # ------------------------------------------------------------ streaming

    def stepper(self, batch_size: int = 1, initial_state: Any = None, threads: int = 1) -> "Stepper":
        """A `Stepper` for `batch_size` streams side by side, which takes one timestep at a time.

        A step takes and returns what the model does, a timestep of it. Where the model returns one result for a
        sequence, each step returns what that would be if the sequence ended there; so are final states. Inputs that
        states begin with are no inputs of a step: they are `initial_state`.

        Parameters
        ----------
        batch_size : int
            How many streams run side by side.
        initial_state : list of arrays (batch_size, units), optional
            For each recurrent layer, in order. Default: zeros, also where layers are stateful.
        threads : int, default 1
            That may compute a step of one stream together, with the same bits, where a recurrent layer has 256 units or
            more (LSTM 128, GRU 148). It pays where one step follows another at once; a step may take locks then.

        Returns
        -------
        Stepper

        Raises
        ------
        ValueError
            If the model is not built, if the engine does not compute all of it, or if some layer needs later timesteps;
            the layer is named.
        """
        from cyrnn.models import stepping

        return stepping.stepper_of(self, batch_size, initial_state, threads)

    @property
    def __cyrnn_model__(self) -> Any:
        """The model as it is now for C: a capsule of a ``cyrnn_model``, see cyrnn.h. Raises ValueError as `stepper`.

        Final states that the model returns are among its states, not its outputs; inputs that no output reads are none.
        """
        from cyrnn.models import stepping

        return stepping.capsule_of(self)

    # ------------------------------------------------------------ partitions

    def partition(
        self,
        inputs: Any,
        training: bool | None = False,
        *,
        masked: bool | tuple[bool, ...] = False,
        wanted: Wanted = Wanted.OUTPUTS,
        programs: bool = True,
        target: Target | None = None,
    ) -> Partition:
        """The model's calls, as programs where they can be; it is kept until something changes that it depends on.

        Parameters
        ----------
        inputs : Place, or a structure of places
            What is known of the inputs. Places of the same shapes and dtypes stand for each other.
        training, masked, wanted
            See `partition.partition`.
        programs : bool
            Whether there may be programs.
        target : Target, optional
            What makes them; default: `current_target`.
        """
        structure = structure_now()  # before anything is read that depends on it
        target = (target or executor.current_target()) if programs else None
        places = executor.places_of(inputs)
        key: tuple[Any, ...] = (target, training)
        if target is not None:
            key += (masked, wanted, *((place.shape, place.dtype) for place in places))
        kept = vars(self).setdefault("_partitions", KeptPartitions())
        return kept.found(self, structure, key, lambda: self._made(inputs, places, training, target, masked, wanted))

    def _made(
        self,
        inputs: Any,
        places: list[Place],
        training: bool | None,
        target: Any,
        masked: bool | tuple[bool, ...],
        wanted: Wanted,
    ) -> Partition:
        found = self.inner_calls(inputs, training)
        assert found is not None  # these are the model's own places
        calls, outputs = found
        if target is None:
            return partition.undivided(calls, places, outputs)
        return partition.partition(calls, places, outputs, target, masked=masked, wanted=wanted)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_partitions", None)  # programs are made again when they are needed
        return state

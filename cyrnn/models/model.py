"""What all models have: layers, a summary of them, states, and files."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from cyrnn.layers.base.carried import states_as_before_on_error
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.predict import Predicts
from cyrnn.models.files import InFiles
from cyrnn.notices.names import suggestion

if TYPE_CHECKING:
    import numpy as np

    from cyrnn.layers.base.programs.pullback import QuickVjp  # imported where gradients are asked for
    from cyrnn.models.programs.parts import Partition
    from cyrnn.models.summary import Row  # imported where a summary is asked for


class ModelOfLayers(InFiles, Predicts, Layer):
    """Base of all models. A subclass has `layers`."""

    _quick_vjps: "Mapping[bool, QuickVjp | None]" = MappingProxyType({})  # in training or not; they may be out of date

    takes_text: ClassVar[bool] = True  # if its inputs are such
    first_call: ClassVar[int] = 0  # the number of its first call, where the config of a model around it counts them

    @property
    def layers(self) -> list[Layer]:
        """The layers, in Keras' order."""
        raise NotImplementedError(f"{type(self).__name__} has no `layers`")

    @property
    def input_shape(self) -> Any:
        """The shape of the input, batch axis first; for several inputs a list. None if it is not known."""
        return self._build_shape

    @property
    def output_names(self) -> list[str]:
        """For each output the name of the layer that returns it; the model's own where that is not known."""
        return [self.name]

    def output_shapes_of_layers(self) -> list[Any]:
        """For each of `layers` the shape of its output, or a list of several, in its first call; None if not known."""
        return [_output_shape(layer) for layer in self.layers]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """One of the layers.

        Parameters
        ----------
        name : str, optional
            The name of the layer.
        index : int, optional
            Or its index in `layers`.

        Returns
        -------
        Layer

        Raises
        ------
        ValueError
            If there is no such layer, or if both or neither of the arguments are given.
        """
        if (name is None) == (index is None):
            raise ValueError(f"give name or index, one of them; got {name!r} and {index!r}")
        found = [layer for layer in self.layers if layer.name == name] if index is None else self.layers[index:][:1]
        if not found:
            known, wanted = [layer.name for layer in self.layers], name if index is None else index
            near = suggestion(name, known) if isinstance(name, str) else ""
            raise ValueError(f"model {self.name!r} has no layer {wanted!r}, only {', '.join(known):.1000}{near}")
        return found[0]

    # ------------------------------------------------------------ summary

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
        *,
        programs: bool = False,
    ) -> None:
        """Print a table of the layers with their output shapes and parameters, as Keras does.

        Parameters
        ----------
        line_length : int, optional
            Characters of a line; default: 88, for a graph that branches 108, but at most those of the terminal.
        positions : sequence of float, optional
            Where the columns end, as parts of a line; the last is 1.
        print_fn : callable, optional
            Called once with the text, instead of writing it to the standard output.
        expand_nested : bool, default False
            Whether to list the layers of models in this one too.
        show_trainable : bool, default False
            Whether to add a column that says which layers are trainable.
        layer_range : sequence of two str, optional
            Names of layers, or patterns of them: list only the layers from the first to the second.
        programs : bool, default False
            Whether to list below the table what a call in inference runs as: the programs of the compiled engine, with
            the layers of each, and the layers that Python calls between them, with the reasons.

        Raises
        ------
        ValueError
            If the columns do not fit in a line, or no layer has a name of `layer_range`.
        """
        from cyrnn.models.summary import program_notes, rows_in_range, show, summary

        text = summary(
            self.name,
            [row for top in rows_in_range(self.rows(), layer_range) for row in _expanded(top, expand_nested)],
            self.weights,
            self.trainable_weights,
            self.optimizer_variables,
            connected=self.branches,
            show_trainable=show_trainable,
            line_length=line_length,
            positions=positions,
            notes=program_notes(self.known_partition()) if programs else (),
        )
        (show if print_fn is None else print_fn)(text)

    @property
    def optimizer_variables(self) -> "list[np.ndarray] | None":
        """The variables of the optimizer, which the summary counts; None where it has none yet."""
        return None

    def _repr_html_(self) -> str:
        """The table of `summary`, as notebooks show it."""
        from cyrnn.models.summary import html

        return html(self.name, self.rows(), self.weights)

    def known_partition(self) -> "Partition | None":
        """What a call in inference, without masks, runs as; None where that is not known before a call."""
        return None

    @property
    def branches(self) -> bool:
        """Whether the summary says which layers are connected, because they do not simply follow each other."""
        return False

    def rows(self) -> "list[Row]":
        """The layers as rows of the summary."""
        from cyrnn.models.summary import Row

        return [Row(layer, shape) for layer, shape in zip(self.layers, self.output_shapes_of_layers(), strict=True)]

    # ------------------------------------------------------------ gradients

    def note_quick_vjp(self, vjp: "QuickVjp | None", training: bool) -> None:
        """Keep what makes `vjp` of further calls, in training or not; None where there is nothing."""
        vars(self)["_quick_vjps"] = {**self._quick_vjps, training: vjp}

    def vjp_again(self, x: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        """What `vjp` returns for an array like that of the last call; None where it is another."""
        quick = self._quick_vjps.get(training)
        return None if quick is None or initial_state is not None else quick(x, mask)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_quick_vjps": {}}  # they are found again

    # ------------------------------------------------------------ states

    @property
    def stateful(self) -> bool:
        """Whether a layer, also one in another, carries states between calls."""
        return any(part.carries_states for part in self.layers_within())

    def stateful_rows(self) -> int | None:
        rows = (part.stateful_rows() for part in self.layers_within()[1:] if isinstance(part, Predicts))
        return next((count for count in rows if count is not None), None)

    def reset_state(self) -> None:
        """Set the states of all stateful layers to what their cells begin with, zeros mostly. Others are left alone."""
        with states_as_before_on_error(self):
            for part in self.layers_within()[1:]:
                if getattr(part, "stateful", False):
                    part.reset_state()

    def reset_states(self) -> None:
        """Keras 2's name of `reset_state`."""
        self.reset_state()


def _output_shape(layer: Layer) -> Any:
    """The shape of the output for the input that a layer is built for; None if that is not known."""
    try:
        return None if layer._build_shape is None else layer.compute_output_shape(layer._build_shape)
    except (NotImplementedError, TypeError, ValueError):  # it may need more than the shape of its input
        return None


def _expanded(row: "Row", nested: bool) -> "list[Row]":
    if not nested or not isinstance(row.layer, ModelOfLayers):
        return [row]
    from cyrnn.models.summary import Row

    inner = [Row(part.layer, part.shape, row.level + 1, part.inputs) for part in row.layer.rows()]
    return [row, *(found for part in inner for found in _expanded(part, nested))]

"""What the models have in common: layers, of which they are made."""

from typing import Any, ClassVar

from cyrnn.layers.base.carried import states_as_before_on_error
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.base.predict import Predicts
from cyrnn.models.files import InFiles


class ModelOfLayers(InFiles, Predicts, Layer):
    """A model by its `layers`, which a subclass gives."""

    first_call: ClassVar[int] = 0  # its number, where the config of a model around it names inputs and outputs

    @property
    def layers(self) -> list[Layer]:
        """The layers, in Keras' order."""
        raise NotImplementedError(f"{type(self).__name__} has no `layers`")

    @property
    def input_shape(self) -> Any:
        """The shape of the input, batch axis first; for several a list."""
        raise NotImplementedError(f"{type(self).__name__} has no `input_shape`")

    def shapes_behind_layers(self) -> list[Any]:
        """What each of `layers` gives, where it is called first: a shape, or a list of several."""
        raise NotImplementedError(f"{type(self).__name__} has no shapes")

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this index of `layers`. Raises ValueError if there is none."""
        if (name is None) == (index is None):
            raise ValueError(f"give name or index, one of them; got {name!r} and {index!r}")
        found = [layer for layer in self.layers if layer.name == name] if index is None else self.layers[index:][:1]
        if not found:
            known = ", ".join(layer.name for layer in self.layers)
            raise ValueError(f"model {self.name!r} has no layer {name if index is None else index!r}, only {known}")
        return found[0]

    @property
    def sublayers(self) -> list[tuple[str, Layer]]:
        return [("layers", layer) for layer in self.layers]

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

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the output, for several a structure of masks; the layers are run for it."""
        return self.call_and_mask(inputs, mask, False)[1]

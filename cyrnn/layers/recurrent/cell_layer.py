"""CellLayer: an RNN over one cell of its own, with the arguments of both."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from cyrnn import objects, regularizers
from cyrnn.layers.base.layer import Layer
from cyrnn.layers.recurrent.recurrent_cell import RecurrentCell
from cyrnn.layers.recurrent.rnn import RNN


class CellLayer(RNN):
    """A recurrent layer that makes its cell itself, whose arguments and weights are attributes of the layer too."""

    cell_class: ClassVar[type[RecurrentCell]]

    units: int
    activation: Any
    use_bias: bool
    dropout: float
    recurrent_dropout: float
    seed: int | None
    kernel: Any
    recurrent_kernel: Any
    bias: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "cell_class" not in vars(cls):  # a subclass of a user
            return
        for name in set(inspect.signature(cls.cell_class).parameters) - {"kwargs"}:
            setattr(cls, name, _of_cell(name))
        for name in ("kernel", "recurrent_kernel", "bias"):
            setattr(cls, name, _weight_of_cell(name))

    @classmethod
    def _new_cell(cls, units: int, of_layer: Mapping[str, Any], **options: Any) -> RecurrentCell:
        """The cell, with what it gets of the options that all layers have."""
        return cls.cell_class(
            units,
            **options,
            name=objects.snake_case(cls.cell_class.__name__),
            dtype=of_layer.get("dtype"),
            trainable=of_layer.get("trainable", True),
        )

    def get_config(self) -> dict[str, Any]:
        own = self.cell.own_config()
        keys = list(own)
        after = next(place for place, key in enumerate(keys) if key.endswith("_constraint"))
        activity = {"activity_regularizer": regularizers.serialize(self.activity_regularizer)}
        base = {k: v for k, v in Layer.get_config(self).items() if k not in activity}
        first, rest = ({key: own[key] for key in part} for part in (keys[:after], keys[after:]))
        return {**base, **self.own_config(), **first, **activity, **rest, "seed": self.cell.seed}


class GatedLayer(CellLayer):
    """A layer of a cell with gates.

    Parameters
    ----------
    use_cudnn : "auto" or bool
        Accepted as in Keras; no GPU is used. Not in the config.
    """

    recurrent_activation: Any

    def __init__(self, cell: RecurrentCell, use_cudnn: Any, **options: Any) -> None:
        if use_cudnn not in ("auto", True, False):
            raise ValueError(f"use_cudnn must be 'auto', True or False, got {use_cudnn!r}")
        super().__init__(cell, **options)
        self.use_cudnn = use_cudnn


def _of_cell(name: str) -> property:
    return property(lambda self: getattr(self.cell, name), doc=f"The cell's `{name}`.")


def _weight_of_cell(name: str) -> property:
    return property(
        lambda self: getattr(self.cell, name),
        lambda self, value: setattr(self.cell, name, value),
        doc=f"The cell's `{name}`: a read-only array, or None before the layer is built; assignable.",
    )

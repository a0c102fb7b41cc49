"""The arguments of a call in a config: symbolic tensors are named by the call that they come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn import dtypes, objects
from cyrnn.arrays import array_of_numbers
from cyrnn.layers.base.symbolic import KerasTensor


@dataclass(frozen=True)
class Reference:
    """An output of a call: the name of the layer, which call of it, which output of that."""

    layer: str
    node: int
    tensor: int

    def __str__(self) -> str:
        return f"output {self.tensor} of call {self.node} of layer {self.layer!r}"


def written(value: Any, place: Callable[[KerasTensor], list[Any]]) -> Any:
    """An argument as JSON can hold it, in Keras 3's form; `place` returns layer, call and output of a tensor."""
    if isinstance(value, KerasTensor):
        config = {"shape": list(value.shape), "dtype": value.dtype, "keras_history": place(value)}
        return {"class_name": "__keras_tensor__", "config": config}
    if isinstance(value, Mapping):
        return {key: written(part, place) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [written(part, place) for part in value]
    if isinstance(value, slice):
        return {"class_name": "__slice__", "config": {"start": value.start, "stop": value.stop, "step": value.step}}
    if value is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__array__") and not isinstance(value, (bool, int, float)):
        array = np.asarray(value)
        return {"class_name": "__numpy__", "config": {"value": array.tolist(), "dtype": array.dtype.name}}
    return value


def read(entry: Any) -> Any:
    """What `written`, or Keras 3, wrote, with a `Reference` for each tensor. Raises ValueError for anything else."""
    if isinstance(entry, (list, tuple)):
        return [read(part) for part in entry]
    if not isinstance(entry, Mapping):
        return entry
    if "class_name" not in entry:
        return {key: read(part) for key, part in entry.items()}
    name, config = entry["class_name"], entry.get("config")
    if not isinstance(config, Mapping):
        raise ValueError(f"an argument must have a dict as config, got {entry!r:.200}")
    if name == "__keras_tensor__":
        return _reference(config.get("keras_history"))
    if name in ("__numpy__", "__tensor__"):
        return _array(config)
    if name == "__slice__":
        return slice(*(_index(config.get(key)) for key in ("start", "stop", "step")))
    if name == "__ellipsis__":
        return Ellipsis
    objects.refuse_code(entry)
    raise ValueError(f"an argument of the class {name!r:.200} is not supported")


def read_old(node: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call as Keras 2 wrote it: tensors as ``[layer, call, output]``, and keyword arguments beside.

    Several tensors are one list, in the first argument.
    """
    kwargs: dict[str, Any] = {}

    def tensors(entry: Any) -> Any:
        if _names_a_tensor(entry) or (isinstance(entry, (list, tuple)) and entry[:1] in (["_CONSTANT_VALUE"],)):
            if len(entry) > 3 and isinstance(entry[3], Mapping):
                kwargs.update({key: _old_value(value) for key, value in entry[3].items()})
            return entry[2] if entry[0] == "_CONSTANT_VALUE" else _reference(entry[:3])
        if isinstance(entry, (list, tuple)) and entry:
            return [tensors(part) for part in entry]
        if isinstance(entry, Mapping):
            return {key: tensors(part) for key, part in entry.items()}
        raise ValueError(f"a call must name [layer, call, output], got {entry!r:.200}")

    first = tensors(node)
    return [first[0] if isinstance(first, list) and len(first) == 1 else first], kwargs


def endpoints(entry: Any) -> Any:
    """The inputs or outputs of a model: one ``[layer, call, output]``, or several in lists and dicts, as references."""
    if _names_a_tensor(entry):
        return _reference(entry)
    if isinstance(entry, (list, tuple)) and entry:
        return [endpoints(part) for part in entry]
    if isinstance(entry, Mapping) and entry:
        return {key: endpoints(part) for key, part in entry.items()}
    raise ValueError(f"inputs and outputs of a model must be named [layer, call, output], got {entry!r:.200}")


def _names_a_tensor(entry: Any) -> bool:
    return isinstance(entry, (list, tuple)) and len(entry) >= 3 and isinstance(entry[0], str) and type(entry[1]) is int


def _old_value(value: Any) -> Any:
    if _names_a_tensor(value) and len(value) == 3:
        return _reference(value)
    if isinstance(value, (list, tuple)):
        return [_old_value(part) for part in value]
    return value


def _reference(history: Any) -> Reference:
    sound = isinstance(history, (list, tuple)) and len(history) == 3 and isinstance(history[0], str)
    if not sound or not all(type(number) is int and number >= 0 for number in history[1:]):
        raise ValueError(f"a tensor must be named [layer, call, output], with numbers from 0, got {history!r:.200}")
    return Reference(*history)


def _array(config: Mapping[str, Any]) -> Any:
    dtype = dtypes.checked_numbers("dtype of an array", config.get("dtype", "float32"))
    return array_of_numbers("value of an array", config.get("value"), dtype)


def _index(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise ValueError(f"a slice must be of integers, got {value!r:.200}")
    return value

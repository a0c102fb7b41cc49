"""What calls take, one after the other: the distribution of their times, beside that of ONNX Runtime."""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cyrnn.dtypes import TEXT
from cyrnn.layers import Embedding, Layer
from cyrnn.layers.base import nest
from cyrnn.layers.base.arguments import Array
from cyrnn.models.functional import Functional
from cyrnn.models.model import ModelOfLayers
from cyrnn.saving.onnx.export import export_onnx

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_TURN = 0.02  # seconds that one contender is called before it is the turn of the next
_WORDS, _WORDS_OF_A_TEXT = 1000, 10  # of texts: how many different ones, and how many there are


@dataclass(frozen=True)
class Latency:
    """The times of calls of one contender.

    Attributes
    ----------
    contender : str
    batch, threads : int
    seconds : array (calls,)
        In ascending order.
    """

    contender: str
    batch: int
    threads: int
    seconds: Array

    def percentile(self, percent: float) -> float | None:
        """The seconds that so many percent of the calls do not take longer than; None where the calls are too few."""
        if len(self.seconds) * (100 - percent) / 100 < 1:
            return None
        return float(np.percentile(self.seconds, percent))

    @property
    def samples_per_second(self) -> float:
        """The throughput of these calls, one after the other."""
        return self.batch * len(self.seconds) / float(self.seconds.sum())


def in_turn(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Array]:
    """The seconds of each call, sorted, of contenders that take turns, each about so many seconds in all.

    So what else the machine does meets all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # what is made once is made now
    spent = dict.fromkeys(calls, 0.0)
    while min(spent.values()) < seconds:
        for name, call in calls.items():
            taken, found = 0.0, times[name]
            while taken < _TURN:
                start = time.perf_counter()
                call()
                found.append(time.perf_counter() - start)
                taken += found[-1]
            spent[name] += taken
    return {name: np.sort(found) for name, found in times.items()}


# ---------------------------------------------------------------- inputs


def random_inputs(model: ModelOfLayers, batch: int, timesteps: int, seed: int = 0) -> Any:
    """Inputs for a model, in its structure: numbers, indices that all its embeddings have, or texts of ten words.

    Parameters
    ----------
    model : ModelOfLayers
    batch : int
    timesteps : int
        The length of axes of any length.
    seed : int
    """
    rng = np.random.default_rng(seed)
    most = min((part.input_dim for part in model.layers_within() if isinstance(part, Embedding)), default=2)
    arrays = []
    for shape, dtype in zip(nest.leaves_of_shapes(model.input_shape), _dtypes(model), strict=True):
        lengths = [batch, *(timesteps if n is None else n for n in shape[1:])]
        if dtype == TEXT:
            words = rng.integers(0, _WORDS, (math.prod(lengths), _WORDS_OF_A_TEXT)).tolist()
            arrays.append(np.array([" ".join(f"word{n}" for n in text) for text in words]).reshape(lengths))
        elif np.dtype(dtype).kind in "iub":
            arrays.append(rng.integers(0, most, lengths).astype(dtype))
        else:
            arrays.append(rng.standard_normal(lengths).astype(dtype))
    return model.in_structure(arrays)


def _dtypes(model: ModelOfLayers) -> list[str]:
    if isinstance(model, Functional):
        return [tensor.dtype for tensor in model.inputs]
    first: Any = next(iter(model.layers), None)
    if getattr(first, "takes_text", False):
        return [TEXT]
    return ["int32" if isinstance(first, Embedding) else model.dtype_policy.engine_dtype.name]


# ---------------------------------------------------------------- ONNX Runtime


@contextlib.contextmanager
def as_onnx(model: Layer) -> Iterator[Path]:
    """A file of the model within the block. Raises what `export_onnx` raises."""
    with tempfile.TemporaryDirectory(prefix="cyrnn-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, path)
        yield path


def onnx_runtime(path: Path, x: Any, threads: int) -> Callable[[], object]:
    """A call of ONNX Runtime. Raises ImportError without it, RuntimeError where it does not run the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        arrays: Sequence[Any] = nest.leaves(x)
        kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(double)": np.float64}
        given = {
            node.name: np.ascontiguousarray(array, kinds.get(node.type, np.float32))
            for node, array in zip(session.get_inputs(), arrays, strict=True)
        }
        session.run(None, given)
    except Exception as error:  # it has errors of its own
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    return lambda: session.run(None, given)

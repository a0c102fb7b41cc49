"""Predictions from an array of zarr into another one, chunk by chunk; what was interrupted goes on."""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyrnn.dask.arrays.chunk import Call, checked_model, described, naming, prepared
from cyrnn.dask.arrays.travel import Traveller, arrived
from cyrnn.dask.zarr_arrays import absolute, cluster, existing, is_something, opened, package, remove
from cyrnn.engine import threads
from cyrnn.layers.base.predict import Predicts, Progress, check_batch_is_first, shown_by
from cyrnn.layers.base.samples.lengths import checked_lengths
from cyrnn.saving.interchange import load_model

_NOTE = "cyrnn"  # the attribute of a result that says what it is of


def predict_zarr(
    model_or_path: Any,
    source: Any,
    target: Any,
    *,
    lengths: Any = None,
    resume: bool = True,
    progress: Progress = False,
    client: Any = None,
    batch_size: int | None = None,
    num_threads: int | None = None,
    precision: str | None = None,
) -> Any:
    """The outputs of a model for all samples of an array of zarr, written to another array of zarr.

    Each chunk is read, computed and written by itself: on the workers of a Dask cluster, or here, one after the other.
    What is done is noted in an array beside the result, `target` with ".progress" behind, which is removed at the end.
    After the process, the cluster or a worker was killed, the same call does what is left. Bits are as `predict` says.

    Parameters
    ----------
    model_or_path : Model or Layer, or a path
        Of one input and one output; or the file of such a model.
    source, target : str or path
        Arrays of zarr, by their paths or URLs, which all workers can reach.
    lengths : array (samples,) of integers, optional
        How many timesteps of each sample count.
    resume : bool
        Whether to go on with a result that is there. It must be of the same model, source and options. False begins it
        anew. What is no result of this function is never replaced.
    progress : bool or callable
        True shows a progress bar of the chunks (needs tqdm). A callable gets the iterable of the numbers of the chunks
        as they are done, and returns one that yields the same.
    client : distributed.Client or str, optional
        The cluster, or the address of its scheduler, as ``tcp://host:8786``. Default: the client that this process has;
        without one the chunks are computed here.
    batch_size : int, optional
        Samples at a time; see `predict`.
    num_threads : int, optional
        The most threads for a chunk. Default: on a cluster 1, here `cyrnn.get_num_threads()`.
    precision : "float32" or "bfloat16", optional
        What products of float32 layers are computed in. None is what `cyrnn.set_precision` has set in this process.

    Returns
    -------
    zarr.Array
        The result, which can be read only.

    Raises
    ------
    ValueError, TypeError
        For a model, a source or lengths that do not fit, and for a target that is something else. Errors of a chunk
        begin with its number and its samples; what other chunks have written stays.

    Examples
    --------
    >>> y = cyrnn.dask.predict_zarr("model.keras", "x.zarr", "y.zarr", progress=True)  # doctest: +SKIP
    """
    zarr = package()
    if num_threads is not None:
        threads.checked_count("num_threads", num_threads)
    model = checked_model(model_or_path if isinstance(model_or_path, Predicts) else load_model(model_or_path))
    check_batch_is_first(model)
    array = opened(str(source))
    if str(source) == str(target):
        raise ValueError(f"target must be another array than source, got {target} for both")
    with cluster(client) as workers:
        limit = num_threads if num_threads is not None or workers is None else 1
        shape = array.shape
        call, shapes, inputs = prepared(
            model, None, [(shape[1:], array.dtype)], shape[0], batch_size, limit, precision, lengths is not None
        )
        if len(call.shapes) != 1:
            raise ValueError(f"model {model.name!r} must return one array, got outputs of the shapes {shapes}")
        ends = None if lengths is None else checked_lengths(lengths, inputs[0].shape)
        job = _job(model, array, str(source), str(target), call, ends)
        pending = _begun(job, resume)
        traveller = Traveller(model)
        if workers is None:
            done = _here(job, traveller, ends, pending)
        else:
            done = _on(workers, job, traveller, ends, pending)
        for _ in shown_by(_Counted(done, len(pending)), progress):
            pass
    remove(job.marks)
    return zarr.open_array(job.target, mode="r")


# ---------------------------------------------------------------- what is to be done


@dataclass(frozen=True)
class _Job:
    """What all chunks have in common; `rows` are those of a chunk."""

    source: str
    target: str
    call: Call
    rows: int
    samples: int
    note: str  # what the result is of, as JSON

    @property
    def marks(self) -> str:
        """Where the array is that has 1 for each chunk that is written."""
        return f"{self.target}.progress"

    @property
    def count(self) -> int:
        """The number of chunks."""
        return -(-self.samples // self.rows)

    def samples_of(self, number: int) -> tuple[int, int]:
        """The first sample of a chunk, and that after its last."""
        return number * self.rows, min((number + 1) * self.rows, self.samples)


def _job(model: Predicts, array: Any, source: str, target: str, call: Call, lengths: Any) -> _Job:
    stored = (getattr(array, "shards", None) or array.chunks)[0]
    rows = max(1, stored) * max(1, -(-call.size // max(1, stored)))  # whole chunks of the source, at least a batch
    note = {
        "model": _fingerprint(model),
        "source": absolute(source),
        "samples": [*array.shape],
        "dtype": str(array.dtype),
        "lengths": None if lengths is None else hashlib.sha256(lengths.tobytes()).hexdigest()[:16],
        "batch": call.nominal,
        "precision": call.precision,
    }
    return _Job(absolute(source), absolute(target), call, rows, array.shape[0], json.dumps(note))


def _fingerprint(model: Predicts) -> str:
    """What two models have in common that compute the same. Names of layers do not count."""
    config = json.loads(model.to_json())
    names = {name: f"#{number}" for number, name in enumerate(dict.fromkeys(_names_in(config)))}
    found = hashlib.sha256(json.dumps(_renamed(config, names), sort_keys=True).encode())
    for weight in model.weights:
        found.update(f"{weight.dtype} {weight.shape}".encode())
        found.update(np.ascontiguousarray(weight).tobytes())
    return found.hexdigest()[:32]


def _names_in(config: Any) -> Iterator[str]:
    """The names of layers and operations in a config, which those of others refer to."""
    if isinstance(config, dict):
        own = config.get("config")
        if isinstance(own, dict) and isinstance(own.get("name"), str) and "Policy" not in str(config.get("class_name")):
            yield own["name"]
    for part in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _names_in(part)


def _renamed(config: Any, names: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _renamed(value, names) for key, value in config.items()}
    if isinstance(config, list):
        return [_renamed(value, names) for value in config]
    return names.get(config, config) if isinstance(config, str) else config


def _begun(job: _Job, resume: bool) -> list[int]:
    """Make the result, or go on with one that is there. The numbers of the chunks that are left."""
    zarr = package()
    result = existing(job.target)
    if result is not None:
        known = result.attrs.get(_NOTE)
        if known is None:
            raise ValueError(f"target must be new, or a result of predict_zarr, got another array at {job.target}")
        if resume:
            _check_same(json.loads(str(known)), json.loads(job.note), job.target)
            marks = existing(job.marks)
            return [] if marks is None else [number for number in range(job.count) if not _is_done(marks, number)]
    elif is_something(job.target):
        raise ValueError(f"target must be new, or a result of predict_zarr, got something else at {job.target}")
    # The marks first: a result without marks is complete.
    zarr.create_array(job.marks, shape=(job.count,), chunks=(1,), dtype="u1", fill_value=0, overwrite=True)
    shape, dtype = job.call.shapes[0], job.call.dtypes[0]
    zarr.create_array(
        job.target,
        shape=(job.samples, *shape),
        chunks=(job.rows, *(max(1, n) for n in shape)),
        dtype=np.float32 if dtype.kind == "V" else dtype,  # zarr has no bfloat16; float32 holds the same values
        attributes={_NOTE: job.note},
        overwrite=True,
    )
    return list(range(job.count))


def _check_same(known: dict[str, Any], wanted: dict[str, Any], target: str) -> None:
    """Raises ValueError, which says what differs, where a result is of something else."""
    if known.get("model") != wanted["model"]:
        raise ValueError(f"{target} is the result of another model: give another target, or resume=False")
    for key, value in wanted.items():
        if known.get(key) != value:
            raise ValueError(
                f"{target} is the result of another call, with {key} {known.get(key)}, now {value}: give another "
                "target, or resume=False"
            )


def _is_done(marks: Any, number: int) -> bool:
    try:
        return bool(marks[number])
    except Exception:  # a mark that was written in part, when its process was killed: as if there was none
        return False


# ---------------------------------------------------------------- chunk by chunk


def _do(traveller: Traveller, job: _Job, number: int, lengths: Any) -> int:
    """Read, compute and write a chunk. Returns its number."""
    first, last = job.samples_of(number)
    with naming(described(number, first, last)):
        source, target, marks = _arrays(job.source, job.target, job.marks, job.note)
        x = np.asarray(source[first:last])
    (output,) = job.call.outputs(traveller, [x], [lengths], described(number, first, last))
    with naming(described(number, first, last)):
        target[first:last] = output.astype(target.dtype, copy=False)
        marks[number] = 1
    return number


@functools.lru_cache(maxsize=4)
def _arrays(source: str, target: str, marks: str, note: str) -> tuple[Any, Any, Any]:
    """The arrays of a job, which a process opens once."""
    zarr = package()
    return zarr.open_array(source, mode="r"), zarr.open_array(target, mode="r+"), zarr.open_array(marks, mode="r+")


def _here(job: _Job, traveller: Traveller, lengths: Any, pending: Sequence[int]) -> Iterator[int]:
    for number in pending:
        yield _do(traveller, job, number, _part(lengths, job, number))


def _on(client: Any, job: _Job, traveller: Traveller, lengths: Any, pending: Sequence[int]) -> Iterator[int]:
    """Let the workers of a cluster do it; the numbers of the chunks as they are done."""
    from distributed import as_completed

    # A task, not scattered data: a worker that is killed takes that along.
    there = client.submit(arrived, traveller, key=f"cyrnn-model-{traveller.token}")
    token = hashlib.sha256(f"{job.target} {job.note}".encode()).hexdigest()[:16]
    futures = [
        client.submit(_do, there, job, number, _part(lengths, job, number), key=f"cyrnn-chunk-{token}-{number}")
        for number in pending
    ]
    try:
        for future in as_completed(futures, loop=client.loop):
            yield future.result()
            future.release()
    except BaseException:
        client.cancel(futures)
        raise


def _part(lengths: Any, job: _Job, number: int) -> Any:
    first, last = job.samples_of(number)
    return None if lengths is None else lengths[first:last]


class _Counted:
    """Numbers that are iterated over once, and how many they are, for progress bars."""

    def __init__(self, numbers: Iterable[int], count: int) -> None:
        self._numbers, self._count = numbers, count

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return self._count

"""One output of `predict`: the rows that the batches return, one batch after the other."""

import numpy as np

from cyrnn.layers.base.arguments import Array


class BatchedOutput:
    """The rows of one output, collected batch by batch.

    They are written to one array, as long as each batch returns a row for each of its samples. Where a layer changes
    the number of rows, or the dtype, the batches are kept instead, and joined at the end.

    Parameters
    ----------
    layer : str
        The name of the layer, for messages.
    samples : int
        The number of samples of all batches.
    out : array (rows, ...), optional
        The array that the rows are written to. It must have exactly as many.
    """

    def __init__(self, layer: str, samples: int, out: Array | None = None) -> None:
        self.layer = layer
        self.samples = samples
        self.out = out
        self.array = out  # what rows are written to; None before the first batch, or where the batches are kept
        self.filled = 0  # its rows that have been written
        self.batches: list[Array] = []  # that are kept
        self.as_samples = True  # so far each batch returned a row for each of its samples
        self._room: Array | None = None  # what `room` has returned last

    def room(self, samples: int) -> Array | None:
        """Where the engine may write the rows of the next batch of so many samples; None if that is not known."""
        array = self.array
        if array is None or not self.as_samples or not 0 < samples <= len(array) - self.filled:
            return None
        room = np.asarray(array[self.filled : self.filled + samples])
        writable = room.flags.writeable and room.flags.aligned and room.dtype.isnative and not room.dtype.hasobject
        self._room = room if writable and room[0].flags.c_contiguous else None
        return self._room

    def check(self, values: Array, first: int, last: int) -> None:
        """Check what the batch of the samples from `first` to `last` returned, before it is written.

        Raises
        ------
        ValueError
            If the values have no rows, do not fit those of other batches or `out`, or are so many or so few that `out`
            cannot be filled exactly.
        """
        if values.ndim == 0:
            raise ValueError(f"layer {self.layer!r} must return arrays with a batch axis, got one of shape ()")
        like = self.batches[0] if self.batches else self.array
        if like is not None and values.shape[1:] != like.shape[1:]:
            rows = f"rows of layer {self.layer!r} for the samples from {first} to {last}"
            if self.out is not None:
                raise ValueError(
                    f"out must have rows of the shape {values.shape[1:]}, as the {rows}; got {like.shape[1:]}"
                )
            raise ValueError(
                f"the {rows} must have the shape of those before, {like.shape[1:]}, got {values.shape[1:]}"
            )
        self.as_samples = self.as_samples and len(values) == last - first
        if self.out is not None:
            self._check_out(self.out, values, last)

    def _check_out(self, out: Array, values: Array, last: int) -> None:
        rows, complete = self.filled + len(values), last == self.samples
        if self.as_samples:
            rows, complete = self.samples, True
        if len(out) < rows or (complete and len(out) > rows):
            expected = rows if complete else f"{rows} or more"
            raise ValueError(
                f"out must have exactly the rows that layer {self.layer!r} returns, {expected}, got {len(out)}"
            )
        narrower = values.dtype.kind == out.dtype.kind and values.itemsize > out.itemsize
        if narrower or not np.can_cast(values.dtype, out.dtype, "same_kind"):
            raise ValueError(
                f"out must have the dtype that layer {self.layer!r} returns, {values.dtype}, got {out.dtype}"
            )

    def append(self, values: Array, samples: int) -> None:
        """Take the rows of the next batch of so many samples; they have been checked."""
        if values is self._room and values is not None:
            self.filled, self._room = self.filled + samples, None
            return
        if self.array is None and not self.batches and len(values) == samples:
            self.array = np.empty((self.samples, *values.shape[1:]), values.dtype)
        if self.out is None and self.array is not None and (len(values) != samples or values.dtype != self.array.dtype):
            self.batches = [self.array[: self.filled]]
            self.array = None
        if self.array is None:
            self.batches.append(np.array(values))  # a copy: a layer may return memory of its input
            return
        self.array[self.filled : self.filled + len(values)] = values
        self.filled += len(values)

    def whole(self) -> Array:
        """The rows of all batches."""
        if self.array is not None:
            return self.array
        return self.batches[0] if len(self.batches) == 1 else np.concatenate(self.batches)

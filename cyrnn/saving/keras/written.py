"""HDF5 files that are written with h5py, as Keras writes them."""

from typing import Any, BinaryIO

import numpy as np

from cyrnn.layers.base.arguments import Array


def written_hdf5(buffer: BinaryIO) -> Any:
    """An open file of h5py, for ``with``. Raises ImportError without h5py."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("writing Keras' files needs h5py: pip install 'cyrnn[h5]'") from error
    return h5py.File(buffer, "w")


def write_array(group: Any, name: str, value: Array) -> None:
    """Write an array into a group; bfloat16, which HDF5 may not know, as two opaque bytes, like Keras."""
    of_bfloat16 = value.dtype.name == "bfloat16"
    dataset = group.create_dataset(name, data=value.view(np.dtype("V2")) if of_bfloat16 else value)
    if of_bfloat16:
        dataset.attrs["dtype"] = "bfloat16"

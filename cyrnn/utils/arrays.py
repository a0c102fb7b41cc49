"""Labels as vectors, and vectors of one length."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cyrnn.arrays import quietly, shown, to_integers, to_numpy


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[Any]:
    """Labels as vectors with a 1 at the place of the label, and zeros elsewhere.

    Parameters
    ----------
    x : array of integers
        Labels from 0 on. A last axis of one is left out.
    num_classes : int, optional
        The length of the vectors; default: one more than the greatest label.

    Returns
    -------
    array of float64, of the shape of x and the axis of classes

    Raises
    ------
    ValueError
        For labels that are no whole numbers, are negative, or are not below `num_classes`.

    Examples
    --------
    >>> cyrnn.utils.to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    labels = to_numpy("x", x)
    if labels.dtype.kind not in "biuf" or not np.array_equal(labels, np.floor(labels)):
        raise ValueError(f"x must hold integers, got {shown(x)}")
    labels = to_integers("x", labels, np.int64)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    count = int(labels.max(initial=-1)) + 1 if num_classes is None else num_classes
    if isinstance(count, bool) or not hasattr(count, "__index__") or count < 0:
        raise ValueError(f"num_classes must be a positive integer, got {shown(num_classes)}")
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        raise ValueError(f"x must hold labels from 0 to {count - 1}, got {labels.min()} to {labels.max()}")
    vectors = np.zeros((*labels.shape, count))
    np.put_along_axis(vectors, labels[..., None], 1.0, axis=-1)
    return vectors


@quietly
def normalize(x: ArrayLike, axis: int = -1, order: int = 2) -> NDArray[Any]:
    """Divide by the norm along an axis, where that is not 0.

    Parameters
    ----------
    x : array
    axis : int
    order : int
        The norm: 2 for the root of the sum of squares, 1 for the sum of absolute values.

    Returns
    -------
    array of the shape of x
    """
    array = to_numpy("x", x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norm == 0, 1, norm)

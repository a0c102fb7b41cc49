"""Seeded random numbers: the streams of Keras' NumPy backend, bit for bit (checked against Keras 3.15.1).

Every draw starts a NumPy generator from a pair ``uint32[seed, counter]``. An integer seed always means the pair
``[seed, 0]``, so it returns the same numbers each time; a `SeedGenerator` counts, so each draw differs. All draws are
made in float64 and then rounded to `dtype`.
"""

import functools
import math
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from cyrnn.arrays import quietly
from cyrnn.configurable import Configurable
from cyrnn.dtypes import float_dtype
from cyrnn.engine.plan import draw_factors
from cyrnn.locks import ForkSafeLock
from cyrnn.notices.names import public
from cyrnn.objects import register

__all__ = ["SeedGenerator", "normal", "truncated_normal", "uniform"]

Seed: TypeAlias = "int | SeedGenerator | None"
Shape: TypeAlias = int | Iterable[int]

_ENGINE_TYPES = (np.float32, np.float64)
_ONE_MORE = np.array([0, 1], np.uint32)
_PYTHON_DTYPES = {float: "float32", int: "int32"}  # what Keras makes of Python's types


@register("keras.random")
class SeedGenerator(Configurable):
    """A seed that changes with every draw. Threads may share one: no two draws get the same pair.

    Parameters
    ----------
    seed : int, optional
        In 0 ... 2**32-1; default a random one out of Python's `random`.
    name : str, optional
        The name in its config.

    Raises
    ------
    ValueError
        If the seed is not an int.
    OverflowError
        If it is out of range.
    """

    def __init__(self, seed: int | None = None, name: str | None = None) -> None:
        if seed is not None and not isinstance(seed, int):
            raise ValueError(f"seed must be an integer or None, got {seed!r}")
        self.name = "seed_generator" if name is None else name
        self._initial_seed = seed
        self._state = _pair(make_default_seed() if seed is None else seed)
        self._lock = ForkSafeLock()

    @property
    def state(self) -> np.ndarray:
        """A copy of the pair that the next draw starts from: uint32 ``[seed, counter]``."""
        return self._state.copy()

    def next(self, ordered: bool = True) -> np.ndarray:
        """Return the present pair, and count.

        Parameters
        ----------
        ordered : bool
            Whether the counter increases by 1; with False, seed and counter both jump.

        Returns
        -------
        array uint32 (2,)
            ``[seed, counter]``
        """
        with self._lock:
            pair = self._state
            if ordered:
                self._state = pair + _ONE_MORE
            else:
                self._state = (pair + np.uint32(1)) * np.uint32(5387) % np.uint32(933199)
        return pair.copy()

    def restart(self, pair: np.ndarray) -> None:
        """Draw from `pair` on.

        Parameters
        ----------
        pair : array uint32 (2,)
            As `state` returns it.
        """
        with self._lock:
            self._state = pair.copy()

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._initial_seed, "name": self.name}


def make_default_seed() -> int:
    """A seed in 1..10**9 out of Python's `random`, which ``random.seed`` makes repeatable."""
    import random

    return random.randint(1, 10**9)


def set_random_seed(seed: int) -> None:
    """Seed the generators that draws without a seed share: Python's, NumPy's, and that of this package.

    Parameters
    ----------
    seed : int
        In 0 ... 2**32-1.

    Raises
    ------
    ValueError
        If it is not an int.
    OverflowError
        If it is out of range.
    """
    import random

    if not isinstance(seed, int):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    pair = _pair(seed)
    _shared_generator().restart(pair)  # first: when it is made, it draws from Python's
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (programs draw from it, and expect this)


def draw_seed(seed: Seed) -> np.ndarray:
    """The pair, uint32 (2,), that one draw starts from: ValueError unless int, `SeedGenerator` or None."""
    if isinstance(seed, SeedGenerator):
        return seed.next()
    if isinstance(seed, int):
        return _pair(seed)
    if seed is None:
        return _shared_generator().next(ordered=False)
    raise ValueError(f"seed must be an integer, a SeedGenerator or None, got {seed!r}")


def _pair(seed: int) -> np.ndarray:
    if not 0 <= seed < 2**32:
        raise OverflowError(f"seed must be in 0..2**32-1, got {seed}")
    return np.array([seed, 0], np.uint32)


@functools.cache
def _shared_generator() -> SeedGenerator:
    return SeedGenerator()


@quietly
def normal(
    shape: Shape, mean: float = 0.0, stddev: float = 1.0, dtype: DTypeLike | None = None, seed: Seed = None
) -> np.ndarray:
    """Draw from a normal distribution.

    Parameters
    ----------
    shape : int or tuple of int
        That of the result.
    mean, stddev : float
        Finite; `stddev` is at least 0.
    dtype : optional
        That of the result, default float32.
    seed : int, SeedGenerator or None
        None draws from a generator that all calls share.

    Returns
    -------
    array of `shape` and `dtype`

    Raises
    ------
    ValueError, TypeError
        For other arguments.
    """
    shape, dtype = checked_shape(shape), checked_dtype(dtype)
    _check_moments(mean, stddev)
    return np.random.default_rng(draw_seed(seed)).normal(mean, stddev, shape).astype(dtype, copy=False)


@quietly
def uniform(
    shape: Shape, minval: float = 0.0, maxval: float = 1.0, dtype: DTypeLike | None = None, seed: Seed = None
) -> np.ndarray:
    """Draw from a uniform distribution over [minval, maxval).

    Parameters
    ----------
    shape : int or tuple of int
        That of the result.
    minval, maxval : float
        The bounds.
    dtype : optional
        That of the result, default float32.
    seed : int, SeedGenerator or None
        None draws from a generator that all calls share.

    Returns
    -------
    array of `shape` and `dtype`

    Raises
    ------
    ValueError, TypeError
        If ``minval > maxval``, and for other arguments that do not fit.
    OverflowError
        If the range is not finite.
    """
    shape, dtype = checked_shape(shape), checked_dtype(dtype)
    if not math.isfinite(maxval - minval):
        raise OverflowError(f"minval and maxval must span a finite range, got {minval!r} and {maxval!r}")
    if minval > maxval:
        raise ValueError(f"minval must not be above maxval, got {minval!r} and {maxval!r}")
    return np.random.default_rng(draw_seed(seed)).uniform(minval, maxval, shape).astype(dtype, copy=False)


@quietly
def truncated_normal(
    shape: Shape, mean: float = 0.0, stddev: float = 1.0, dtype: DTypeLike | None = None, seed: Seed = None
) -> np.ndarray:
    """Draw from a normal distribution, within two `stddev` of the mean.

    These are the draws of `normal` without those outside; the stream continues until there are enough.

    Parameters
    ----------
    shape : int or tuple of int
        That of the result.
    mean, stddev : float
        Finite; `stddev` is at least 0.
    dtype : optional
        That of the result, default float32.
    seed : int, SeedGenerator or None
        None draws from a generator that all calls share.

    Returns
    -------
    array of `shape` and `dtype`

    Raises
    ------
    ValueError, TypeError
        For other arguments.
    """
    shape, dtype = checked_shape(shape), checked_dtype(dtype)
    _check_moments(mean, stddev)
    generator = np.random.default_rng(draw_seed(seed))
    size = math.prod(shape)
    low, high = mean - 2 * stddev, mean + 2 * stddev
    kept, missing = [np.empty(0)], size
    while missing > 0:
        batch = generator.normal(mean, stddev, size)
        kept.append(batch[(batch >= low) & (batch <= high)])
        missing -= kept[-1].size
    return np.concatenate(kept)[:size].astype(dtype, copy=False).reshape(shape)


@quietly
def dropout_mask(shape: Shape, rate: float, seed: Seed = None, dtype: DTypeLike | None = None) -> np.ndarray:
    """Draw inverted dropout: factors that are 0 for a share `rate` of the entries, and 1 / (1 - rate) for the others.

    Rates 0 and 1 draw nothing: a `SeedGenerator` does not count.

    Parameters
    ----------
    shape : int or tuple of int
        That of the result.
    rate : float
        From 0 to 1.
    seed : int, SeedGenerator or None
        None draws from a generator that all calls share.
    dtype : optional
        That of the result, default float32.

    Returns
    -------
    array of `shape` and `dtype`

    Raises
    ------
    ValueError, TypeError
        For other arguments.
    """
    shape, dtype = checked_shape(shape), checked_dtype(dtype)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in 0..1, got {rate!r}")
    if rate in (0, 1):
        return np.full(shape, 1 - rate, dtype)
    keep = 1.0 - rate
    if dtype.type in _ENGINE_TYPES:
        return drawn_factors(shape, keep, seed, dtype)
    kept = np.random.default_rng(draw_seed(seed)).uniform(size=shape) < keep
    return np.where(kept, np.ones((), dtype) / keep, 0).astype(dtype, copy=False)


def drawn_factors(shape: tuple[int, ...], keep: float, seed: Seed, dtype: np.dtype[Any]) -> np.ndarray:
    """Inverted dropout as `dropout_mask` draws it: for a share `keep`, between 0 and 1, and float32 or float64.

    The engine draws: from the stream of NumPy's generator, which takes many times as long to make.
    """
    first, counter = draw_seed(seed).tolist()
    factors = np.empty(shape, dtype)
    draw_factors(first, counter, keep, factors.reshape(-1))
    return factors


def _check_moments(mean: float, stddev: float) -> None:
    if not (math.isfinite(mean) and 0 <= stddev < math.inf):
        raise ValueError(f"mean must be finite and stddev finite and >= 0, got {mean!r} and {stddev!r}")


def checked_shape(shape: Shape) -> tuple[int, ...]:
    """`shape` as a tuple of Python ints: TypeError if it is none, ValueError for a negative size."""
    try:
        sizes = tuple(map(operator.index, shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError:
        raise TypeError(f"shape must be a tuple of integers, got {shape!r}") from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape must hold no negative size, got {sizes}")
    return sizes


def checked_dtype(dtype: DTypeLike | None) -> np.dtype:
    """`dtype` as NumPy's, None as float32: ValueError unless it is a dtype of numbers under its full name.

    Byte orders do not count: what is made here is in this machine's.
    """
    wanted = "float32" if dtype is None else dtype
    if isinstance(wanted, type):
        wanted = _PYTHON_DTYPES.get(wanted, wanted)
    try:
        found = float_dtype(wanted) if isinstance(wanted, str) else np.dtype(wanted)
    except TypeError:
        found = None
    if found is None or found.kind in "OSUMm" or (isinstance(wanted, str) and found.name != wanted):
        raise ValueError(f"dtype must be the name of a dtype such as 'float32', got {dtype!r}")
    return found.newbyteorder("=")


if not TYPE_CHECKING:  # else every name would be one that there is
    __getattr__, __dir__ = public(__name__, __all__)

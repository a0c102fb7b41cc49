"""Arrays of zarr by their paths or URLs, and the cluster that works on them."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def package() -> Any:
    """The package zarr. Raises ImportError that says how it is installed."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError("predict_zarr needs the package zarr: pip install 'cyrnn[dask]'") from error
    return zarr


def absolute(where: str) -> str:
    """A path that other processes find too; URLs are such."""
    return where if "://" in where else str(Path(where).absolute())


def opened(where: str) -> Any:
    """The array at `where`, to be read. Raises FileNotFoundError, or ValueError for what is no array of samples."""
    found = existing(where)
    if found is None:
        if is_something(where):
            raise ValueError(f"source must be an array of zarr, got something else at {where}")
        raise FileNotFoundError(f"there is no array of zarr at {where}")
    if found.ndim == 0:
        raise ValueError(f"source must have a batch axis, got an array of shape () at {where}")
    return found


def existing(where: str) -> Any:
    """The array at `where`; None if there is none. Raises ValueError for one whose metadata are damaged."""
    zarr = package()
    try:
        return zarr.open_array(where, mode="r")
    except (FileNotFoundError, KeyError, ValueError, zarr.errors.BaseZarrError):
        return None
    except (OSError, ImportError, MemoryError):
        raise
    except Exception as error:  # damaged metadata may raise any
        found = f"{type(error).__name__}: {error}"
        raise ValueError(f"zarr cannot open the array at {where}: {found:.200}") from error


def is_something(where: str) -> bool:
    """Whether there is a file, or a folder that is not empty."""
    path = Path(where)
    return "://" not in where and path.exists() and (not path.is_dir() or any(path.iterdir()))


def remove(where: str) -> None:
    """Remove an array."""
    if "://" not in where:
        shutil.rmtree(where, ignore_errors=True)
        return
    import fsspec  # what zarr opens URLs with

    with contextlib.suppress(FileNotFoundError):
        files, path = fsspec.core.url_to_fs(where)
        files.rm(path, recursive=True)


@contextlib.contextmanager
def cluster(client: Any) -> Iterator[Any]:
    """The client for the block: the one that was given, one for the address of a scheduler, the one that this process
    has, or None."""
    if isinstance(client, str):
        try:
            from distributed import Client
        except ImportError as error:
            raise ImportError("a scheduler needs the package distributed: pip install 'cyrnn[dask]'") from error
        with Client(client, set_as_default=False) as made:
            yield made
        return
    if client is None and "distributed" in sys.modules:
        with contextlib.suppress(ValueError):  # there is none
            client = sys.modules["distributed"].default_client()
    yield client

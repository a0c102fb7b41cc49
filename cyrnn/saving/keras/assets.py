"""What Keras' files hold for a layer beside its config and weights: vocabularies, in the folder ``assets``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from cyrnn.layers.base.arguments import Array
from cyrnn.saving.errors import ModelFileError, Reason
from cyrnn.saving.keras.hdf5 import Node
from cyrnn.saving.weight_paths import Place
from cyrnn.saving.zipped import Members

_FOLDER = "assets"
_TOKENS_OF_ANY_FILE = 500_000  # of a vocabulary, each of which takes about 160 bytes of memory
_BYTES_OF_A_TOKEN = 20  # of a larger file, embeddings included


@runtime_checkable
class HasAssets(Protocol):
    """A layer of which files hold more than its config and weights."""

    @property
    def assets(self) -> Mapping[str, bytes]: ...

    @property
    def stored_arrays(self) -> Mapping[str, Array]: ...

    def load_assets(self, assets: Mapping[str, bytes], arrays: Mapping[str, Array], most: int) -> None: ...


def stored_arrays(place: Place) -> Mapping[str, Array]:
    """Arrays that are stored among the weights of a layer, by name."""
    return place.layer.stored_arrays if isinstance(place.layer, HasAssets) else {}


def members(of_a_layer: Sequence[Place]) -> dict[str, bytes]:
    """The members of an archive."""
    return {
        _path(place, name): content
        for place in of_a_layer
        if isinstance(place.layer, HasAssets)
        for name, content in place.layer.assets.items()
    }


def refuse(of_a_layer: Sequence[Place]) -> None:
    """Raises ValueError where a layer has assets, of a format that has no place for them."""
    for place in of_a_layer:
        if isinstance(place.layer, HasAssets) and place.layer.assets:
            raise ValueError(
                f"layer {place.layer.name!r} has a vocabulary that it was not made with, which HDF5 files do not hold: "
                "save a .keras file"
            )


def load(archive: Members, root: Callable[[], Node], of_a_layer: Sequence[Place]) -> None:
    """Give layers what an archive holds for them. Raises ModelFileError that names the layer."""
    most = _TOKENS_OF_ANY_FILE + archive.stored_bytes // _BYTES_OF_A_TOKEN
    names = set(archive.names)
    for place in of_a_layer:
        layer = place.layer
        if not isinstance(layer, HasAssets):
            continue
        prefix = _path(place, "")
        found = {name.removeprefix(prefix): archive.read(name) for name in names if _is_in(name, prefix)}
        try:
            layer.load_assets(found, _arrays(root(), place.path) if found else {}, most)
        except ValueError as error:
            reason = error.reason if isinstance(error, ModelFileError) else Reason.MISMATCH
            raise ModelFileError(f"the vocabulary of layer {layer.name!r} cannot be read: {error}", reason) from error


def _path(place: Place, name: str) -> str:
    return "/".join([_FOLDER, *([place.path] if place.path else []), name])


def _is_in(name: str, folder: str) -> bool:
    return name.startswith(folder) and "/" not in name.removeprefix(folder)


def _arrays(root: Node, path: str) -> dict[str, Array]:
    """The arrays that `stored_arrays` has put there."""
    group = root.get(f"{path}/vars".removeprefix("/"))
    if group is None or not group.is_group or "idf_weights" not in group.names:
        return {}
    dataset = group.get("idf_weights")
    return {} if dataset is None else {"idf_weights": dataset.read()}

"""The public names of modules, and what is said of a name that there is not: what is meant, or what to do instead."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NoReturn

_NOTHING: Mapping[str, str] = MappingProxyType({})
_A_LAYER = "write a custom layer, a subclass of cyrnn.layers.Layer with a `call` in NumPy"
_IMAGES = "cyrnn has layers of sequences, not of images; for sequences there are Conv1D, MaxPooling1D and others"
_MORE_RECURRENT = "write a custom cell, and put it into cyrnn.layers.RNN"
_RANDOM_DATA = "change the data in NumPy, before `fit`"

_OF_IMAGES = (
    *("Conv2D", "Conv3D", "MaxPooling2D", "AveragePooling2D", "SpatialDropout2D", "ZeroPadding2D", "UpSampling2D"),
    *("Cropping2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "SeparableConv2D", "DepthwiseConv2D"),
)
# By module the names that scripts for Keras have, and what to do.
_INSTEAD: dict[str, dict[str, str]] = {
    "": {
        "ops": "everything here is NumPy: np.exp in the place of ops.exp; between layers there are +, * and slices",
        "applications": "there are no ready-made models of images; saving.load_model reads models of sequences",
        "datasets": "load the data with NumPy; cyrnn downloads nothing",
        "distribution": "`fit` and `predict` use the cores of one machine: see cyrnn.set_num_threads",
        "export": "see cyrnn.saving.export_onnx and cyrnn.saving.export_c",
        "quantizers": "quantized layers are not supported",
        "tree": "nested structures are lists, tuples and dicts",
        "wrappers": "use cyrnn's models as they are: they have fit and predict",
        "Variable": "a layer makes weights by add_weight(), and other numbers are arrays of NumPy",
        **{
            name: f"it is cyrnn.saving.{name}"
            for name in ("load_model", "save_model", "from_torch", "from_onnx", "export_onnx", "export_c")
        },
        **{name: f"it is a module of its own: import cyrnn.{name}" for name in ("dask", "torch", "jax")},
    },
    "layers": {
        **dict.fromkeys(_OF_IMAGES, _IMAGES),
        **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _MORE_RECURRENT),
        **dict.fromkeys(("RandomFlip", "RandomRotation", "RandomZoom", "RandomCrop", "Resizing"), _RANDOM_DATA),
        **dict.fromkeys(
            ("GroupNormalization", "EinsumDense", "SeparableConv1D", "DepthwiseConv1D", "GroupQueryAttention"), _A_LAYER
        ),
        **dict.fromkeys(("Conv1DTranspose", "LocallyConnected1D", "SpectralNormalization"), _A_LAYER),
        **dict.fromkeys(
            ("AdaptiveAveragePooling1D", "AdaptiveMaxPooling1D", "MelSpectrogram", "STFTSpectrogram"), _A_LAYER
        ),
        "Lambda": (
            "write a custom layer, a subclass of cyrnn.layers.Layer whose `call` is the function, with a `vjp` to "
            "train; between layers x[:, -1], x * 2, x + y and Activation(name) need none"
        ),
        "CuDNNLSTM": "it is LSTM; files that have it are read",
        "CuDNNGRU": "it is GRU; files that have it are read",
        "HashedCrossing": "join the texts in Python, and put them into Hashing",
        "FeatureSpace": "put StringLookup, Discretization and CategoryEncoding before a Concatenate",
        "TFSMLayer": "read the model with cyrnn.saving.load_model or from_onnx",
        "TorchModuleWrapper": "see cyrnn.saving.from_torch",
        "JaxLayer": "write a subclass of cyrnn.layers.Layer",
    },
    "utils": {
        "get_file": "download files by other means: cyrnn opens no connections",
        "image_dataset_from_directory": "cyrnn has no images",
        "text_dataset_from_directory": "read the texts in Python: TextVectorization takes an array of them",
        "model_to_dot": "see cyrnn.utils.plot_model, which writes .dot files too",
        "to_ordinal": "use numpy.arange(classes) < labels[:, None]",
    },
    "saving": {
        "load_weights_from_hdf5": "it is load_weights",
        "save_weights_only": "it is save_weights",
    },
}


def public(
    module: str, names: Iterable[str], instead: Mapping[str, str] = _NOTHING
) -> tuple[Callable[[str], NoReturn], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a module whose public names are these.

    `instead` says of names of Keras that it does not have what to do, beside what is known here.
    """

    def __getattr__(name: str) -> NoReturn:
        raise missing(module, name, names, instead)

    return __getattr__, lambda: sorted(names)


def missing(module: str, name: str, known: Iterable[str], instead: Mapping[str, str] = _NOTHING) -> AttributeError:
    """The error for a name that a module does not have, with what is meant or what to do, where that is known."""
    text = f"module {module!r} has no attribute {name!r}"
    hint = f": {instead[name]}" if name in instead else ""
    if not hint and not name.startswith("_"):
        hint = hint_for(module, name, known)
    return AttributeError(text + hint, name=name)


def hint_for(module: str, name: str, known: Iterable[str]) -> str:
    """The end of a message on a name that a module does not have."""
    instead = _INSTEAD.get(module.partition(".")[2], {}).get(name)
    return f": {instead}" if instead is not None else suggestion(name, known)


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: which of the known ones is meant, if one is near, in any case."""
    import difflib

    by_lower: dict[str, list[str]] = {}
    for other in known:
        by_lower.setdefault(other.lower(), []).append(other)
    near = difflib.get_close_matches(name[:100].lower(), by_lower, 1, 0.7)
    if not near:
        return ""
    [best] = difflib.get_close_matches(name[:100], by_lower[near[0]], 1, 0)  # of "mae" and "MAE" that in this case
    return f"; did you mean {best!r}?"

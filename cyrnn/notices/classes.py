"""The modules of classes that a config may name: imported when it names a class that is not known yet."""

import importlib

_modules: dict[str, list[str]] = {}  # Keras' module, such as "keras.layers" -> modules of ours


def classes_are_in(keras_module: str, *modules: str) -> None:
    """The classes that Keras has in `keras_module` are in these modules."""
    _modules.setdefault(keras_module, []).extend(modules)


def import_classes(keras_module: str) -> None:
    """Import the classes that Keras has in `keras_module`. Each of their modules puts them on the allow-list."""
    for name in _modules.get(keras_module, ()):
        importlib.import_module(name)

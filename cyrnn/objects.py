"""Objects in a config, in Keras' own form.

Keras writes an object as ``{"module", "class_name", "config", "registered_name"}`` (here: an *envelope*), and names
built-ins by string. This module holds the allow-list of classes that an envelope may name; nothing is ever imported
by name, unpickled or unmarshalled, so a config cannot run code that the caller did not hand in as `custom_objects`.
"""

import contextlib
import copy
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeVar

from cyrnn.arrays import shown
from cyrnn.notices.classes import import_classes
from cyrnn.notices.names import hint_for, suggestion

_LONGEST_MESSAGE = 1000  # characters: an error within nested layers is quoted by each of them

_Class = TypeVar("_Class", bound=type)
_Object = TypeVar("_Object")

_classes: dict[tuple[str, str], type] = {}  # (module, class name or alias) -> class
_cloning: ContextVar[dict[str, Any] | None] = ContextVar("cloning", default=None)
_custom: ContextVar[Mapping[str, Any]] = ContextVar("custom_objects", default=MappingProxyType({}))
_counters: dict[str, Iterator[int]] = {}  # of default names

_registered: dict[str, Any] = {}  # what `register_keras_serializable` has registered, and `get_custom_objects` got
_registered_names: dict[Any, str] = {}


class CodeError(ValueError):
    """A config holds code, which is never run."""


class UnknownNameError(ValueError):
    """A config names a class or function that is neither built in nor in `custom_objects`."""


def snake_case(name: str) -> str:
    """Keras' snake case: ``SimpleRNNCell`` -> ``simple_rnn_cell``, ``L1L2`` -> ``l1l2``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", name).lower()


def unique_name(base: str) -> str:
    """Keras' default names: ``dense``, ``dense_1``, ... in the order of construction."""
    number = next(_counters.setdefault(base, itertools.count()))  # one step each: no two threads get the same
    return f"{base}_{number}" if number else base


def clear_session(free_memory: bool = True) -> None:
    """Let default names begin anew: the next `Dense` is ``dense`` again.

    Parameters
    ----------
    free_memory : bool
        Accepted as in Keras, changes nothing: a model that you no longer hold takes no memory.
    """
    _counters.clear()


def register(module: str, *aliases: str) -> Callable[[_Class], _Class]:
    """Put a class on the allow-list, under its own name, the snake case of it and `aliases`."""

    def decorate(cls: _Class) -> _Class:
        cls._keras_module = module  # type: ignore[attr-defined]
        for name in (cls.__name__, snake_case(cls.__name__), *aliases):
            _classes[module, name] = cls
        return cls

    return decorate


def _class_of(module: str, name: str) -> type | None:
    """The class of this name on the allow-list, which is complete before one counts as unknown."""
    if (module, name) not in _classes:
        import_classes(module)
    return _classes.get((module, name))


def is_builtin(cls: type) -> bool:
    """Whether a class itself, not only a base of it, is one of this package."""
    return "_keras_module" in vars(cls)


def owner(cls: type, name: str) -> type:
    """The class from which `cls` has this attribute."""
    return next(base for base in cls.__mro__ if name in vars(base))


def is_known(module: str, class_name: Any) -> bool:
    """Whether the allow-list has a class of this name in `module`."""
    return isinstance(class_name, str) and _class_of(module, class_name) is not None


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[_Object], _Object]:
    """Decorator: configs may name the class or function, without `custom_objects`.

    Parameters
    ----------
    package : str
        Configs name it ``package>name``.
    name : str, optional
        Default: its own.

    Raises
    ------
    ValueError
        For a class without `get_config`.
    """

    def register_it(obj: _Object) -> _Object:
        if isinstance(obj, type) and not hasattr(obj, "get_config"):
            raise ValueError(f"a class must have a get_config to be registered, got {obj!r}")
        key = f"{package}>{obj.__name__ if name is None else name}"  # type: ignore[attr-defined]
        _registered[key] = obj
        _registered_names[obj] = key
        return obj

    return register_it


def get_custom_objects() -> dict[str, Any]:
    """The registered classes and functions by name: the dict itself, to which others may be added."""
    return _registered


def get_registered_name(obj: Any) -> str:
    """The name by which a config names a class or function: ``package>name`` if it is registered, else its own."""
    return _registered_names.get(obj, obj.__name__)


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """The class or function of this name in the current scope, registered, or in one of the mappings; or None."""
    scopes = (_custom.get(), _registered, custom_objects or {}, module_objects or {})
    return next((scope[name] for scope in scopes if name in scope), None)


@contextlib.contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Within the block, names in a config are looked up in `custom_objects` before the built-ins."""
    token = _custom.set({**_custom.get(), **(custom_objects or {})})
    try:
        yield
    finally:
        _custom.reset(token)


CustomObjectScope = custom_object_scope


def custom_object(*names: Any) -> Any:
    """The first of `names` that the current `custom_objects` hold, with or without its package, or that is registered;
    or None.

    Keras registers custom classes and functions as ``package>Name``.
    """
    scope = _custom.get()
    known = [name for name in names if isinstance(name, str)]
    short = [name.rpartition(">")[2] for name in known]
    found = next((scope[name] for name in (*known, *short) if name in scope), None)
    return next((_registered[name] for name in known if name in _registered), None) if found is None else found


@contextlib.contextmanager
def refusals_named(class_name: str, config: Any) -> Iterator[None]:
    """Within the block, what is wrong with the config of a layer is a ValueError that names the layer."""
    try:
        yield
    except (ValueError, TypeError, LookupError) as error:
        name = _name(config)
        text = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
        raise ValueError(f"layer {name!r:.200} ({class_name}) cannot be made: {text[:_LONGEST_MESSAGE]}") from error


def refuse_code(entry: Any) -> None:
    """Raises ValueError for a lambda in a config: Keras marshals it as ``[code, defaults, closure]``."""
    if isinstance(entry, Mapping):
        named = entry.get("class_name")
        code = named == "__lambda__" or (named is None and "value" in entry)
        code = code or (named == "function" and not isinstance(entry.get("config"), str))
    else:
        code = isinstance(entry, (list, tuple)) and len(entry) == 3 and isinstance(entry[0], str)
    if code:
        raise CodeError("the config holds a lambda as marshalled code, which is never run: name the function instead")


def serialize(obj: Any) -> Any:
    """The config entry for `obj`: None, a function's entry, or the envelope of an object with `get_config`."""
    if obj is None:
        return None
    cls = type(obj)
    builtin = is_builtin(cls)
    cloned = _cloning.get()
    if cloned is not None and not builtin and not (hasattr(obj, "get_config") and hasattr(obj, "build")):
        return obj if callable(obj) and not hasattr(obj, "call") else copy.deepcopy(obj)  # a function, or a cell
    if hasattr(obj, "get_config"):
        name = get_registered_name(cls)
        if cloned is not None and not builtin:
            cloned[name := f"{cls.__qualname__} at {id(cls)}"] = cls
        envelope = {
            "module": cls._keras_module if builtin else (None if cls.__module__ == "__main__" else cls.__module__),
            "class_name": cls.__name__,
            "config": obj.get_config(),
            "registered_name": getattr(cls, "_registered_name", None) if builtin else name,
        }
        build_config = obj.get_build_config() if cloned is None and hasattr(obj, "get_build_config") else None
        return envelope if build_config is None else {**envelope, "build_config": build_config}
    if callable(obj):
        known = _registered_names.get(obj) if hasattr(obj, "__name__") else None
        config = known or getattr(obj, "__name__", cls.__name__)
        return {
            "module": "builtins",
            "class_name": "function",
            "config": config,
            "registered_name": known or "function",
        }
    raise ValueError(f"cannot write {obj!r} to a config: it has no get_config()")


def serialize_keras_object(obj: Any) -> Any:
    """What a config holds for an object: of an object with `get_config`, a function, or several in lists and dicts."""
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    if isinstance(obj, (list, tuple)):
        return [serialize_keras_object(part) for part in obj]
    return {key: serialize_keras_object(part) for key, part in obj.items()} if isinstance(obj, dict) else serialize(obj)


def deserialize_keras_object(
    config: Any, custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True
) -> Any:
    """What `serialize_keras_object` described. `safe_mode` is accepted as in Keras: code never runs.

    Raises ValueError for a class or function that is neither built in, nor registered, nor in `custom_objects`.
    """
    with custom_object_scope(custom_objects):
        if isinstance(config, (list, tuple)):
            return [deserialize_keras_object(part) for part in config]
        if isinstance(config, Mapping) and "class_name" not in config:
            refuse_code(config)
            return {key: deserialize_keras_object(part) for key, part in config.items()}
        if not isinstance(config, Mapping):
            return config
        module = str(config.get("module"))
        return deserialize(config, module if is_known(module, config["class_name"]) else "keras.layers")


def clone(obj: Any, **changes: Any) -> Any:
    """A new layer of `obj`'s config with some changes, not built. Custom functions and objects are kept."""
    envelope, found = _described(lambda: serialize(obj))
    with custom_object_scope(found):
        return deserialize({**envelope, "config": {**envelope["config"], **changes}}, "keras.layers")


def begun_anew(obj: Any) -> Any:
    """A new object of the class and config of `obj`, such as an optimizer. Custom functions and objects are kept."""
    config, found = _described(obj.get_config)
    with custom_object_scope(found):
        return type(obj).from_config(config)


def _described(describe: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """What `describe` returns with custom functions and objects as they are, and the custom classes by name."""
    found: dict[str, Any] = {}
    token = _cloning.set(found)
    try:
        return describe(), found
    finally:
        _cloning.reset(token)


def revived(entry: Any, module: str) -> Any:
    """The object that a config entry describes, or is."""
    return deserialize(entry, module) if isinstance(entry, Mapping) else entry


def revived_in(config: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The layers that a config holds under these keys, where it has them."""
    return {key: revived(config[key], "keras.layers") for key in keys if key in config}


def deserialize(envelope: Mapping[str, Any], module: str) -> Any:
    """The object that `envelope` describes, of a class of `module` (such as ``keras.initializers``).

    Raises ValueError for a class that is neither on the allow-list nor in the current `custom_objects`.
    """
    refuse_code(envelope)
    if not isinstance(envelope, Mapping) or not isinstance(envelope.get("class_name"), str):
        raise ValueError(f"expected a dict with 'class_name' and 'config', got {envelope!r:.200}")
    class_name, registered_name = envelope["class_name"], envelope.get("registered_name")
    config: Any = envelope.get("config")
    if class_name == "function":
        return _function(config, registered_name)
    found = custom_object(registered_name, class_name)
    if found is None and (
        registered_name is None or str(envelope.get("module") or "keras").startswith(("keras", "tf_keras"))
    ):
        found = _class_of(module, class_name)
    if found is None:
        kind, unknown = _kind(module), registered_name or class_name
        name = _name(config)
        what = f"unknown {kind} class" if name is None else f"{kind} {name!r:.200} is of the unknown class"
        code = "; the code that a Lambda layer's config holds is never run" if class_name == "Lambda" else ""
        error = CodeError if code else UnknownNameError
        text = shown(unknown)
        names = [cls.__name__ for (known, _), cls in _classes.items() if known == module]
        hint = "" if code else hint_for(module.replace("keras", "cyrnn", 1), str(unknown), names)
        raise error(f"{what} {text}: pass it in custom_objects={{{text}: ...}} if it is yours{code}{hint}")
    if not isinstance(found, type):
        return found  # a ready object or a function, handed in by the caller
    if not isinstance(config, Mapping) and (class_name, type(config)) != ("Sequential", list):  # as Keras 2 had it
        raise ValueError(f"the config of {shown(class_name)} must be a dict, got {shown(config)}")
    if "_keras_module" not in vars(found):
        config = copy.deepcopy(config)  # some classes take the dict apart, as Keras' own do
    if isinstance(config, Mapping):
        config = {key: plain_value(value) for key, value in config.items()}
    obj = found.from_config(config) if hasattr(found, "from_config") else found(**config)
    build_config = envelope.get("build_config")
    if isinstance(build_config, Mapping) and hasattr(obj, "build_from_config"):
        with refusals_named(class_name, config):
            obj.build_from_config(build_config)
    return obj


def plain_value(value: Any) -> Any:
    """Keras writes an array or a NumPy scalar as an envelope around its numbers: the numbers alone."""
    if isinstance(value, Mapping) and value.get("class_name") in ("__tensor__", "__numpy__"):
        config = value.get("config")
        return config.get("value") if isinstance(config, Mapping) else value
    return value


def _function(config: Any, registered_name: Any) -> Any:
    found = custom_object(registered_name, config)
    if found is None:
        raise UnknownNameError(
            f"unknown function {shown(config)} in the config: pass it in custom_objects={{{shown(config)}: ...}}"
        )
    return found


def _kind(module: str) -> str:
    """What the classes of a module are: ``keras.losses`` has losses, each a loss."""
    name = module.rpartition(".")[2]
    if name == "keras":  # policies and models
        return "object"
    return name.removesuffix("es" if name == "losses" else "s")


def _name(config: Any) -> Any:
    return config.get("name") if isinstance(config, Mapping) else None


def get(identifier: Any, module: str) -> Any:
    """What Keras' ``initializers.get`` and its siblings accept: None, name, envelope, class, object or callable."""
    if identifier is None:
        return None
    if isinstance(identifier, Mapping):
        return deserialize(identifier, module)
    if isinstance(identifier, str):
        found = custom_object(identifier)
        found = _class_of(module, identifier) if found is None else found
    else:
        found = identifier
    if isinstance(found, type):
        return found()
    if callable(found):
        return found
    error = UnknownNameError if isinstance(identifier, str) else ValueError
    text = f"could not interpret the {_kind(module)} {shown(identifier)}: expected None, a name, a dict, or a callable"
    raise error(text + _suggestion(identifier, module))


def _suggestion(identifier: Any, module: str) -> str:
    """The name on the allow-list that is meant by one that is not, as the end of a message."""
    names = [name for known, name in _classes if known == module]
    return suggestion(identifier, names) if isinstance(identifier, str) else ""

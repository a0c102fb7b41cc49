"""What configs of Keras 1 and 2 say differently.

They hold options that the constructors of Keras 3 refuse, and so do those here: only reading a config takes them.
"""

from collections.abc import Container, Mapping
from typing import Any

from cyrnn import notices

# The first four say how Keras 2 computed; `batch_input_shape` is for whoever makes the whole model, see `input_shape`.
_OPTIONS = (
    *("implementation", "enable_caching_device", "input_length", "input_dtype", "batch_input_shape"),
    *("num_constants", "reverse_state_order", "time_major"),
)

# What layers of Keras 2 say besides: shapes that they were built for, and what is not an option any more.
_OPTIONS_OF = {
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape", "softmax_robust_masking"),
    "Discretization": ("trainable",),
}

# What Keras 1 called the options; the later name is taken that the class knows.
_NAMES_OF_KERAS_1 = {
    "output_dim": ("units",),
    "init": ("kernel_initializer", "embeddings_initializer"),
    "inner_init": ("recurrent_initializer",),
    "inner_activation": ("recurrent_activation",),
    "bias": ("use_bias",),
    "p": ("rate",),
    "dropout_W": ("dropout",),
    "dropout_U": ("recurrent_dropout",),
    "W_regularizer": ("kernel_regularizer", "embeddings_regularizer"),
    "U_regularizer": ("recurrent_regularizer",),
    "b_regularizer": ("bias_regularizer",),
    "W_constraint": ("kernel_constraint", "embeddings_constraint"),
    "b_constraint": ("bias_constraint",),
}
_ONLY_IN_KERAS_1 = ("consume_less", "input_dim", "forget_bias_init")
_BEFORE_RESET_AFTER = ("consume_less", "inner_activation", "implementation")  # in configs of GRUs that do not have it


def modern(class_name: str, config: Any, known: Container[str] = ()) -> tuple[dict[str, Any], bool]:
    """A layer's config for today's constructors, and whether its sequences have the time axis first.

    `config` is left as it is. Options in `known` are the class's own, whatever they meant in Keras 2. Raises
    ValueError for an option that changes what a layer computes, in a way that is not supported.
    """
    if class_name == "Sequential":
        return _sequential(config), False
    if not isinstance(config, Mapping):
        raise ValueError(f"the config of {class_name!r} must be a dict, got {config!r:.200}")
    new = dict(config)
    if class_name == "InputLayer":
        for old_key, key in (("batch_input_shape", "batch_shape"), ("input_dtype", "dtype")):
            if old_key in new:
                new[key] = new.pop(old_key)
    if "reset_after" in known and "reset_after" not in new and any(key in new for key in _BEFORE_RESET_AFTER):
        new["reset_after"] = False
    if new.get("softmax_robust_masking") and class_name in _OPTIONS_OF:
        raise ValueError("softmax_robust_masking is true, which is not supported")
    for key in _OPTIONS_OF.get(class_name, ()):
        new.pop(key, None)
    if class_name == "Discretization" and isinstance(new.get("dtype"), str) and "int" in new["dtype"]:
        del new["dtype"]  # of the bins; since Keras 3 they have a dtype of their own
    new = _renamed(new, known)
    old = {key: new.pop(key) for key in _OPTIONS if key in new and key not in known}
    if old.get("num_constants"):
        raise ValueError(f"num_constants is {old['num_constants']!r}: cells with constants are not supported")
    if old.get("reverse_state_order"):
        notices.warn("reverse_state_order has no effect: states are in the order of the cells")
    return new, bool(old.get("time_major"))


def _renamed(config: dict[str, Any], known: Container[str]) -> dict[str, Any]:
    """A config with the options of Keras 1 under their later names."""
    if not any(key in config and key not in known for key in (*_NAMES_OF_KERAS_1, *_ONLY_IN_KERAS_1)):
        return config
    new = {}
    if "forget_bias_init" in config and "unit_forget_bias" in known:
        new["unit_forget_bias"] = config["forget_bias_init"] in ("one", "ones")
    for key, value in config.items():
        later = [name for name in _NAMES_OF_KERAS_1.get(key, ()) if key not in known and name in known]
        if isinstance(value, Mapping) and key.endswith("_regularizer") and "class_name" not in value:
            value = {"class_name": "L1L2", "config": {k: value[k] for k in ("l1", "l2") if k in value}}
        if later or key in known or key not in _ONLY_IN_KERAS_1:
            new[later[0] if later else key] = value
    return new


def _sequential(config: Any) -> dict[str, Any]:
    """Up to Keras 2.2.2 the config is the list of layers. The first layer may say what an InputLayer says since."""
    if not isinstance(config, (Mapping, list, tuple)):
        raise ValueError(f"the config of a Sequential must be a dict, or a list of layers, got {config!r:.200}")
    new = dict(config) if isinstance(config, Mapping) else {"layers": config}
    entries = new.get("layers")
    if not isinstance(entries, (list, tuple)):
        raise ValueError("the config of a Sequential must hold a list of layers")
    first = entries[0] if entries and isinstance(entries[0], Mapping) else {}
    shape, layer = _input_shape(first, "batch_input_shape"), first.get("config")
    if shape is not None and first.get("class_name") != "InputLayer":
        name = f"{layer['name']}_input" if isinstance(layer, Mapping) and "name" in layer else None
        entries = [{"class_name": "InputLayer", "config": {"batch_shape": shape, "name": name}}, *entries]
    return {**new, "layers": list(entries)}


def input_shape(entry: Mapping[str, Any]) -> Any:
    """The shape of the input for which a layer or model is built, if its entry says so in Keras 2's way; or None."""
    return _input_shape(entry, "batch_input_shape", "build_input_shape")


def _input_shape(entry: Mapping[str, Any], *keys: str) -> Any:
    config = entry.get("config")
    shapes = [config.get(key) for key in keys] if isinstance(config, Mapping) else []
    return next((shape for shape in shapes if shape is not None), None)

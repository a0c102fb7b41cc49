"""Check the docstrings of public names, as numpydoc reads them: each has a summary that is a sentence, and says what
all parameters are, and what a function returns."""

import importlib
import sys

from numpydoc.validate import validate

NAMESPACES = [
    "cyrnn", "cyrnn.activations", "cyrnn.backend", "cyrnn.callbacks", "cyrnn.capi", "cyrnn.config", "cyrnn.constraints",
    "cyrnn.dask", "cyrnn.initializers", "cyrnn.layers", "cyrnn.losses", "cyrnn.metrics", "cyrnn.mixed_precision",
    "cyrnn.models", "cyrnn.optimizers", "cyrnn.optimizers.schedules", "cyrnn.preprocessing.sequence", "cyrnn.random",
    "cyrnn.regularizers", "cyrnn.saving", "cyrnn.utils",
]  # fmt: skip
METHODS = {  # that users call, in the class that has their docstring
    "cyrnn.Layer": ["add_weight", "build", "compute_output_shape", "count_params",
                    "from_config", "get_config", "get_weights", "set_weights", "to_json", "vjp"],
    "cyrnn.Model": ["compile", "compile_from_config", "evaluate", "fit", "from_config", "get_compile_config",
                    "get_layer", "get_metrics_result", "load_weights", "predict", "predict_on_batch", "save",
                    "save_weights", "summary", "test_on_batch", "train_on_batch"],
    "cyrnn.Sequential": ["add", "pop"],
    "cyrnn.callbacks.Callback": ["on_epoch_begin", "on_epoch_end", "on_train_begin", "on_train_end",
                                 "on_train_batch_begin", "on_train_batch_end", "set_model", "set_params"],
    "cyrnn.initializers.Initializer": ["from_config", "get_config"],
    "cyrnn.layers.RNN": ["get_initial_state", "reset_state", "stepper"],
    "cyrnn.layers.TextVectorization": ["adapt", "get_vocabulary", "set_vocabulary"],
    "cyrnn.layers.Normalization": ["adapt"],
    "cyrnn.losses.Loss": ["call", "from_config", "get_config", "value_and_gradient"],
    "cyrnn.metrics.Metric": ["add_weight", "get_config", "reset_state", "result", "update_state"],
    "cyrnn.optimizers.Optimizer": ["apply", "set_weights"],
}  # fmt: skip
HELD = {"GL08", "PR01", "RT01", "SS03"}
NO_PARAMETERS = {
    "cyrnn.callbacks.TrainedModel",
    "cyrnn.callbacks.TrainedOptimizer",
    "cyrnn.KerasTensor",
    "cyrnn.saving.Reason",
}  # nobody makes them
SENTENCES = {"cyrnn.objects"}  # modules in which a docstring is a sentence or two: what Keras' scripts register


def public_names() -> list[str]:
    found = {}
    for space in NAMESPACES:
        module = importlib.import_module(space)
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and getattr(thing, "__module__", "") not in SENTENCES:
                found.setdefault(id(thing), f"{space}.{name}")  # aliases once
    return [*found.values(), *(f"{owner}.{name}" for owner, names in METHODS.items() for name in names)]


def faults(name: str) -> list[str]:
    """What is missing in a docstring. `*args` and `**kwargs` may be left out."""
    found = []
    for code, message in validate(name)["errors"]:
        named = [word.strip("'") for word in message[message.find("{") + 1 : message.find("}")].split(", ")]
        left_out = code == "PR01" and (name in NO_PARAMETERS or all(word.startswith("*") for word in named))
        if code in HELD and not left_out:
            found.append(f"{name}: {message} ({code})")
    return found


names = public_names()
found = [fault for name in names for fault in faults(name)]
print(*found, sep="\n")
if found:
    sys.exit(f"{len(found)} faults in the docstrings of {len(names)} public names")
print(f"the docstrings of {len(names)} public names are complete")

"""Check the docstrings of public names, as numpydoc reads them: each has a summary that is a sentence, and says what
all parameters are, and what a function returns.

    .ci/check_docstrings.py             names that need no other package
    .ci/check_docstrings.py bridges     those that need torch and JAX
"""

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
    "cyrnn.DTypePolicy": ["from_config", "get_config"],
    "cyrnn.Layer": ["add_weight", "build", "build_from_config", "compute_mask", "compute_output_shape", "count_params",
                    "from_config", "get_build_config", "get_config", "get_weights", "set_weights", "to_json", "vjp"],
    "cyrnn.Model": ["compile", "compile_from_config", "evaluate", "fit", "from_config", "get_compile_config",
                    "get_layer", "get_metrics_result", "load_weights", "predict", "predict_on_batch", "save",
                    "save_weights", "summary", "test_on_batch", "train_on_batch"],
    "cyrnn.Sequential": ["add", "pop"],
    "cyrnn.callbacks.Callback": ["on_batch_begin", "on_batch_end", "on_epoch_begin", "on_epoch_end",
                                 "on_predict_batch_begin", "on_predict_batch_end", "on_predict_begin",
                                 "on_predict_end", "on_test_batch_begin", "on_test_batch_end", "on_test_begin",
                                 "on_test_end", "on_train_batch_begin", "on_train_batch_end", "on_train_begin",
                                 "on_train_end", "set_model", "set_params"],
    "cyrnn.callbacks.ReduceLROnPlateau": ["in_cooldown"],
    "cyrnn.initializers.Initializer": ["from_config", "get_config"],
    "cyrnn.layers.IntegerLookup": ["adapt", "get_vocabulary", "set_vocabulary", "vocabulary_size"],
    "cyrnn.layers.Normalization": ["adapt"],
    "cyrnn.layers.LSTMCell": ["get_initial_state", "reset_dropout_mask", "reset_recurrent_dropout_mask", "vjp"],
    "cyrnn.layers.RNN": ["get_initial_state", "predict", "reset_state", "stepper"],
    "cyrnn.layers.StackedRNNCells": ["get_initial_state", "vjp"],
    "cyrnn.layers.TextVectorization": ["adapt", "get_vocabulary", "set_vocabulary", "vocabulary_size"],
    "cyrnn.layers.recurrent.stepper.Stepper": ["reset"],
    "cyrnn.losses.Loss": ["call", "from_config", "get_config", "gradient", "value_and_gradient"],
    "cyrnn.metrics.Metric": ["add_variable", "add_weight", "get_config", "reset_state", "result", "update_state"],
    "cyrnn.optimizers.Optimizer": ["apply", "build", "get_config", "set_weights"],
    "cyrnn.random.SeedGenerator": ["next", "restart"],
    "cyrnn.regularizers.Regularizer": ["gradient"],
    "cyrnn.utils.Progbar": ["add", "update"],
}  # fmt: skip
BRIDGES = ["cyrnn.torch", "cyrnn.jax"]
METHODS_OF_BRIDGES = {"cyrnn.torch.Module": ["extra_repr", "forward", "to_cyrnn"]}
HELD = {"GL08", "PR01", "RT01", "SS03"}
NO_PARAMETERS = {
    "cyrnn.callbacks.TrainedModel",
    "cyrnn.callbacks.TrainedOptimizer",
    "cyrnn.KerasTensor",
    "cyrnn.saving.Reason",
}  # nobody makes them
SENTENCES = {"cyrnn.objects"}  # modules in which a docstring is a sentence or two: what Keras' scripts register


def public_names(namespaces: list[str], methods: dict[str, list[str]]) -> list[str]:
    found = {}
    for space in namespaces:
        module = importlib.import_module(space)
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and getattr(thing, "__module__", "") not in SENTENCES:
                found.setdefault(id(thing), f"{space}.{name}")  # aliases once
    return [*found.values(), *(f"{owner}.{name}" for owner, names in methods.items() for name in names)]


def faults(name: str) -> list[str]:
    """What is missing in a docstring. `*args` and `**kwargs` may be left out."""
    found = []
    for code, message in validate(name)["errors"]:
        named = [word.strip("'") for word in message[message.find("{") + 1 : message.find("}")].split(", ")]
        left_out = code == "PR01" and (name in NO_PARAMETERS or all(word.startswith("*") for word in named))
        if code in HELD and not left_out:
            found.append(f"{name}: {message} ({code})")
    return found


bridges = sys.argv[1:] == ["bridges"]
names = public_names(BRIDGES, METHODS_OF_BRIDGES) if bridges else public_names(NAMESPACES, METHODS)
found = [fault for name in names for fault in faults(name)]
print(*found, sep="\n")
if found:
    sys.exit(f"{len(found)} faults in the docstrings of {len(names)} public names")
print(f"the docstrings of {len(names)} public names are complete")

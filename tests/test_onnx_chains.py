"""Random chains of ONNX nodes around an RNN: `from_onnx` gives what ONNX Runtime gives, or refuses the file.

    CYRNN_ONNX_EXAMPLES=6000 pytest tests/test_onnx_chains.py      takes about five minutes

Files of torch are in golden/torch_chains.npz; where torch is installed, it writes others.
"""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from onnx_by_hand import onnx, onnxruntime
from onnx_chains import Chain

from cyrnn.layers.base import nest
from cyrnn.saving import ModelFileError, from_onnx

EXAMPLES = int(os.environ.get("CYRNN_ONNX_EXAMPLES", "360"))
GROUPS = 12
GOLDEN = Path(__file__).parent / "golden" / "torch_chains.npz"


def session(stored):
    """What runs a file with ONNX Runtime as it is; None for a file that it does not take."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(stored, options, providers=["CPUExecutionProvider"])
    except Exception:  # chains may have nodes that do not fit each other
        return None


def results(running, arrays):
    """The outputs; None where they cannot be computed from these inputs."""
    try:
        return running.run(None, arrays)
    except Exception:
        return None


def check_equal(model, inputs, candidates, words):
    """Each output of the model, called and predicted in small batches, is one of its candidates, as it is announced."""
    inputs = inputs[0] if len(inputs) == 1 else inputs
    with np.errstate(all="ignore"):
        called, predicted = nest.leaves(model(inputs)), nest.leaves(model.predict(inputs, batch_size=2))
    assert len(called) == len(candidates)
    for got, again, announced, wanted in zip(called, predicted, model.outputs, candidates, strict=True):
        same = [array for array in wanted if _close(got, array) and _close(again, array)]
        assert same, f"{words}\ngot {got.shape}, wanted {[array.shape for array in wanted]}"
        assert len(announced.shape) == got.ndim and all(map(_fits, announced.shape, got.shape)), words


def _close(got, wanted):
    return got.shape == wanted.shape and np.allclose(got, wanted, rtol=1e-3, atol=1e-4, equal_nan=True)


def _fits(announced, length):
    return announced in (None, length)


def outcome(seed):
    """Of one chain: whether it was equal, refused, or is none that ONNX Runtime runs."""
    chain = Chain(seed).build(1 + seed % 8)
    running = session(chain.proto(runnable=True).SerializeToString())
    sizes = [int(chain.batch)] if chain.fixed else [int(chain.batch), 1, 2, 5]
    arrays = [chain.arrays(size) for size in sizes]
    wanted = [running and results(running, part) for part in arrays]
    if wanted[0] is None:
        return "invalid"
    try:
        model = from_onnx(chain.proto())
    except ModelFileError as error:
        assert "node '" in str(error) or "inputs" in str(error), error
        return "refused"
    for size, given, outputs in zip(sizes, arrays, wanted, strict=True):
        if outputs is not None:  # a Reshape in the file may be for one size of batch
            candidates = [chain.wanted(name, array, size) for name, array in zip(chain.results, outputs, strict=True)]
            check_equal(model, chain.for_the_model(given), candidates, f"seed {seed}, batch {size}\n{chain}")
    return "equal"


@pytest.mark.parametrize("group", range(GROUPS))
def test_chains(group):
    outcomes = [outcome(seed) for seed in range(group, EXAMPLES, GROUPS)]
    assert outcomes.count("invalid") <= len(outcomes) // 10
    assert outcomes.count("equal") >= len(outcomes) // 2


# ---------------------------------------------------------------- chains of torch


def is_state(graph):
    """Whether the output of a file of torch is the final states of its RNNs, (directions, batch, units)."""
    makers = {name: node for node in graph.node for name in node.output}
    last = makers[graph.output[0].name]
    states = last.input if last.op_type == "Concat" else last.output[1:]
    return all(name in makers and name in makers[name].output[1:] for name in states) and len(states) > 0


def outcome_of_torch(stored, x, y, batch_first, words):
    """Whether the model of a file of torch returns `y`, what torch returned, and at any batch what ONNX Runtime does;
    or the file is refused."""
    proto = onnx.load_from_string(stored)
    try:
        model = from_onnx(proto)
    except ModelFileError as error:
        assert "node '" in str(error), error
        return "refused"
    running = session(stored)
    (described,) = running.get_inputs()
    runs = [(x, y)]
    if isinstance(described.shape[0 if batch_first else 1], str):
        for size in (1, 2, 5):
            shape = (size, *x.shape[1:]) if batch_first else (x.shape[0], size, *x.shape[2:])
            given = np.random.default_rng(size).standard_normal(shape).astype("f4")
            outputs = results(running, {"x": given})
            runs += [(given, outputs[0])] if outputs else []
    for given, wanted in runs:
        rows = given if batch_first else given.swapaxes(0, 1)
        moved = [np.moveaxis(wanted, axis, 0) for axis, n in enumerate(wanted.shape) if n == len(rows)]
        candidates = [wanted] if batch_first else moved
        candidates = [np.concatenate(list(wanted), axis=-1)] if is_state(proto.graph) else candidates
        check_equal(model, [rows], [candidates], words)
    return "equal"


def test_chains_that_torch_wrote():
    stored = np.load(GOLDEN)
    names = sorted(name.removesuffix(".x") for name in stored.files if name.endswith(".x"))
    outcomes = []
    for name in names:
        x, y, batch_first = (stored[f"{name}.{part}"] for part in ("x", "y", "batch_first"))
        content = zlib.decompress(stored[f"{name}.onnx"].tobytes())
        outcomes.append(outcome_of_torch(content, x, y, bool(batch_first), name))
    assert len(names) >= 60 and outcomes.count("equal") >= 0.6 * len(names)


@pytest.mark.parametrize("group", range(3))
def test_chains_that_torch_writes(group):
    pytest.importorskip(
        "torch", reason="makes files with torch, which is large; golden/torch_chains.npz has such files"
    )
    from torch_chains import exported

    count = EXAMPLES // 10
    outcomes = [outcome_of_torch(*exported(seed), f"seed {seed}") for seed in range(group, count, 3)]
    assert outcomes.count("equal") > len(outcomes) // 2

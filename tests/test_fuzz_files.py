"""Real files with bytes, members, numbers and names changed: each loads, or gets a ModelFileError; nothing else.

    CYRNN_FUZZ_EXAMPLES=4000 pytest -m fuzz      takes about a minute

HDF5's own library crashed or looped on some of a thousand such files; that is why this package reads them itself.
"""

import functools
import io
import json
import os
import struct
import zipfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from measured import within

import cyrnn
from cyrnn.layers import RNN, Bidirectional, Dense, Embedding, Input, SimpleRNN, SimpleRNNCell
from cyrnn.saving import ModelFileError, from_torch, load_model, load_weights, save_model, save_weights

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")

EXAMPLES = int(os.environ.get("CYRNN_FUZZ_EXAMPLES", "60"))
MOST_SECONDS, MOST_MEMORY = 10, 48 << 20  # for files of some ten thousand bytes
GOLDEN = Path(__file__).parent / "golden" / "files"


def model():
    return cyrnn.Sequential(
        [
            Input((4,), dtype="int32"),
            Embedding(5, 3, mask_zero=True),
            Bidirectional(SimpleRNN(2, return_sequences=True)),
            RNN([SimpleRNNCell(2), SimpleRNNCell(3, use_bias=False)]),
            Dense(2),
        ]
    )


def trained_model():
    """One whose files have a compile config and the state of an optimizer."""
    made = cyrnn.Sequential([Input((3, 2)), SimpleRNN(2), Dense(1)])
    schedule = cyrnn.optimizers.schedules.CosineDecay(0.1, 9)
    optimizer = cyrnn.optimizers.Muon(schedule, use_ema=True, exclude_layers=["dense"], gradient_accumulation_steps=2)
    metrics = [cyrnn.metrics.AUC(), "accuracy", cyrnn.metrics.PrecisionAtRecall(0.5)]
    made.compile(optimizer, cyrnn.losses.BinaryCrossentropy(True), metrics=metrics, weighted_metrics=["mse"])
    for _ in range(3):
        made.train_on_batch(np.ones((2, 3, 2), "f"), np.ones((2, 1), "f"))
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The bytes of a file of each kind, by name."""
    folder = tmp_path_factory.mktemp("sound")
    save_model(model(), folder / "ours.keras")
    for end in ("weights.h5", "npz", "safetensors"):
        save_weights(model(), folder / f"ours.{end}")
    for name in TRAINED:
        (trained_model().save_weights if "weights" in name else trained_model().save)(folder / name)
    (folder / "compressed.weights.h5").write_bytes(compressed((folder / "ours.weights.h5").read_bytes()))
    paths = [*folder.iterdir(), *GOLDEN.glob("*.h5"), *GOLDEN.glob("*.keras"), *GOLDEN.glob("*.safetensors")]
    return {path.name: path.read_bytes() for path in paths}


def compressed(content):
    """The same arrays in chunks, shuffled and compressed."""
    target = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(target, "w") as new:

        def copy(name, node):
            if isinstance(node, h5py.Dataset):
                chunks = tuple(1 + n // 2 for n in node.shape)
                new.create_dataset(name, data=node[()], chunks=chunks, compression="gzip", shuffle=True)

        old.visititems(copy)
    return target.getvalue()


TRAINED = ["trained.keras", "trained.weights.h5", "trained.h5"]
NAMES = sorted(
    [*TRAINED, "ours.keras", "compressed.weights.h5", "ours.weights.h5", "ours.npz", "ours.safetensors"]
    + [path.name for path in GOLDEN.iterdir() if path.suffix != ".json"]
)
FRACTIONS = st.floats(0, 1, exclude_max=True)
NUMBERS = st.sampled_from([0, 1, 2, 7, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1]) | st.integers(
    0, 255
)
EDITS = st.tuples(
    st.sampled_from(["byte", "number", "bit", "cut", "drop", "repeat", "swap", "alias", "alias", "digits"]),
    FRACTIONS,
    FRACTIONS,
    NUMBERS,
    st.booleans(),
)
PLAIN = [None, True, -1, 0, 3, 2.5, 10**18, float("nan"), float("inf"), "", "x" * 10_000, "Lambda", "SimpleRNN", "../x"]
LARGE = [2**31, 2**63, 10**390, -(10**300), "float32,(1000,1000,250)f8", "string", "M8[s]", "\U0001f600" * 1000]
NESTED = [[], {}, [None, 3], [[[]]], {"class_name": "Dense", "config": {}}, {"class_name": "__tensor__"}]
LISTS = [[1] * 5000, [10**300] * 1000, [2**40] * 30, ["", "x" * 1000] * 1000, json.loads("[" * 90 + "]" * 90)]
ARRAYS = [{"class_name": "__numpy__", "config": {"value": value, "dtype": "float32"}} for value in (3, [2**70], ["x"])]
VALUES = st.sampled_from([*PLAIN, *LARGE, *NESTED, *LISTS, *ARRAYS])
KEYS = st.sampled_from(["replace", "replace", "replace", "remove", "double", "nest", "many"])


def with_bytes_changed(content, edits):
    """`content` after some edits; places where it is not zero are the more likely ones."""
    content = bytearray(content)
    filled = np.flatnonzero(np.frombuffer(bytes(content), np.uint8))
    for kind, first, second, number, anywhere in edits:
        if not content:
            break
        at = int(first * len(content))
        if not anywhere and len(filled):
            at = min(int(filled[int(first * len(filled))]), len(content) - 1)
        other = int(second * len(content))
        length = 1 + int(second * 64)
        if kind == "byte":
            content[at] = number % 256
        elif kind == "bit":
            content[at] ^= 1 << number % 8
        elif kind == "number":
            size = (1, 2, 4, 8)[int(second * 4)]
            content[at : at + size] = struct.pack("<Q", number)[:size]
        elif kind == "cut":
            del content[at:]
        elif kind == "alias":  # an address, of another part of the file
            at, other = at // 8 * 8, other // 8 * 8
            content[at : at + 8] = content[other : other + 8]
        elif kind == "digits":  # a longer number, in text
            digits = [n for n in range(at, min(at + 500, len(content))) if chr(content[n]).isdigit()]
            place = digits[0] if digits else at
            content[place:place] = b"9" * (1 + int(second * 300))
        elif kind == "drop":
            del content[at : at + length]
        elif kind == "repeat":
            content[at:at] = content[other : other + length]
        else:
            content[at : at + 8], content[other : other + 8] = content[other : other + 8], content[at : at + 8]
    return bytes(content)


def with_json_changed(text, fraction, value, key):
    """JSON with one of its values replaced, or removed or doubled with its key."""
    parsed = json.loads(text)
    places = []

    def collect(node):
        for k in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, k))
            if isinstance(node[k], (dict, list)):
                collect(node[k])

    collect(parsed)
    node, k = places[int(fraction * len(places))]
    if key == "remove":
        del node[k]
    elif key == "double" and isinstance(node, list):
        node.append(node[k])
    elif key == "many" and isinstance(node, list):
        node += [node[k]] * 300
    elif key == "nest":
        node[k] = {"class_name": "Sequential", "config": {"name": "n", "layers": [node[k]]}}
    else:
        node[k] = value
    return json.dumps(parsed).encode()


def with_member_changed(content, fraction, edits, change_json, value, key):
    """A zip archive in which one member is changed, and all sums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[int(fraction * len(members))]
    if change_json and "config.json" in members:
        members["config.json"] = with_json_changed(members["config.json"], fraction, value, key)
    else:
        members[name] = with_bytes_changed(members[name], edits)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return buffer.getvalue()


def with_header_changed(content, fraction, value, key):
    """A .safetensors file whose header is other JSON."""
    size = struct.unpack("<Q", content[:8])[0]
    text = with_json_changed(content[8 : 8 + size], fraction, value, key)
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


@st.composite
def hostile_files(draw):
    """A name, and a function that makes that file hostile."""
    name, edits = draw(st.sampled_from(NAMES)), draw(st.lists(EDITS, min_size=1, max_size=4))
    if name.endswith((".keras", ".npz")) and draw(st.integers(0, 3)):
        arguments = draw(FRACTIONS), edits, draw(st.booleans()), draw(VALUES), draw(KEYS)
        return name, lambda content: with_member_changed(content, *arguments)
    if name.endswith(".safetensors") and draw(st.booleans()):
        changes = draw(FRACTIONS), draw(VALUES), draw(KEYS)
        return name, lambda content: with_header_changed(content, *changes)
    return name, lambda content: with_bytes_changed(content, edits)


@functools.cache
def target_for(name):
    """A layer with the weights of a sound file of this name."""
    if name.startswith("ours"):
        return model()
    if name in TRAINED:
        return trained_model()
    if name == "torch.safetensors":
        return from_torch(GOLDEN / name, prefix="cell.")
    if name == "keras3_single.weights.h5":
        layer = Bidirectional(SimpleRNN(4))
        layer.build((None, 6, 3))
        return layer
    return load_model(GOLDEN / ("keras1.h5" if name == "keras1.h5" else "keras3.keras"))


def state_of(layer):
    optimizer = getattr(layer, "optimizer", None)
    kept = [] if optimizer is None else list(optimizer._kept.values())
    return [*layer.weights, *kept]


def refused(load, path):
    """Whether the file is refused, as it should be: by one error, and with little memory."""
    with within(MOST_SECONDS, MOST_MEMORY):
        try:
            load(path)
            return False
        except ModelFileError as error:
            assert len(str(error)) < 3000
            return True


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")  # configs may ask for anything
@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=20_000,  # milliseconds: far more than any takes, far less than a loop
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate, hypothesis.Phase.shrink],
    print_blob=True,
)
@hypothesis.given(hostile_files())
def test_files_load_or_are_refused(tmp_path_factory, files, hostile):
    name, change = hostile
    path = tmp_path_factory.getbasetemp() / f"fuzzed-{name}"
    path.write_bytes(change(files[name]))
    target = target_for(name)
    before = state_of(target)
    refused(load_model, path)
    if refused(lambda path: load_weights(target, path), path):
        assert all(a is b for a, b in zip(before, state_of(target), strict=True))
    if name == "torch.safetensors":
        try:
            refused(lambda path: from_torch(path, prefix="deep."), path)
        except ValueError as error:  # a sound file, with other names or shapes than torch's
            assert "weight" in str(error) or "source" in str(error) or "bias" in str(error)

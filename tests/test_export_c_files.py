"""Layers as C: the file itself, what runs without Python, names, and what cannot be said in C."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from exported import C99, CC, CXX, DIGITS, MODELS, STRICT, TOLERANCE, ends, needs_compiler, run, with_weights

import cyrnn
from cyrnn.layers import (
    RNN,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    GlobalMaxPooling1D,
    SimpleRNN,
    SimpleRNNCell,
    TimeDistributed,
)
from cyrnn.saving import export_c, load_model
from cyrnn.saving.c.activations import ACTIVATIONS
from cyrnn.saving.c.replay import Replay

# ---------------------------------------------------------------- the file


def example(text):
    """The program in the file's first comment."""
    comment = text[text.index("* Example") : text.index("*/")]
    return "\n".join(line[7:] for line in comment.splitlines() if line.startswith(" *     ") or line == " *")


def numbers(lines):
    return "\n".join(" ".join(map(repr, map(float, line))) for line in lines)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_example_runs_without_python(tmp_path, dtype):
    """The program of the comment, from lines of numbers to lines of numbers, in an empty environment."""
    model = load_model(DIGITS / "digits.keras") if dtype == "float32" else with_weights(SimpleRNN(3, dtype=dtype), 8)
    export_c(model, tmp_path / "net.c", name="reader")
    program = example((tmp_path / "net.c").read_text())
    assert "int main(void)" in program and '#include "net.c"' in program
    (tmp_path / "main.c").write_text(program)
    run(CC, *C99, "-o", tmp_path / "main", tmp_path / "main.c", tmp_path / "net.c", "-lm")
    x = np.random.default_rng(0).random((8, 8)).astype(dtype)
    printed = run(tmp_path / "main", input=numbers(x), env={}, cwd="/")
    got = np.array([line.split() for line in printed.splitlines()], dtype)
    any_length = cyrnn.Sequential(model.layers) if dtype == "float32" else model  # its Input is one of 8 timesteps
    np.testing.assert_allclose(got, ends(any_length, x), rtol=0, atol=TOLERANCE[dtype])


@needs_compiler
def test_sanitizers_find_nothing(tmp_path):
    model = with_weights(MODELS["a tagger"]("float32"), 5)
    export_c(model, tmp_path / "net.c", name="net")
    (tmp_path / "main.c").write_text(example((tmp_path / "net.c").read_text()))
    flags = ["-g", "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
    run(CC, *C99, *flags, "-o", tmp_path / "main", tmp_path / "main.c", tmp_path / "net.c", "-lm")
    x = np.random.default_rng(0).standard_normal((6, 5)).astype("f4")
    printed = run(tmp_path / "main", input=numbers(x), env={"ASAN_OPTIONS": "detect_leaks=0"})
    got = np.array([line.split() for line in printed.splitlines()], "f4")
    np.testing.assert_allclose(got, model(x[None])[0], rtol=0, atol=1e-6)


USER = """
#define NET_DECLARATIONS_ONLY
#include "net.c"
#include "net.c"
#include <stdio.h>

int main(void) {
    net_state state, copy;
    float x[2][NET_FEATURES] = {{0}, {0}}, outputs[2][NET_UNITS], again[NET_UNITS];
    x[0][0] = 1;
    x[1][1] = -1;
    net_init(&state);
    net_step(&state, x[0], outputs[0]);
    copy = state;
    net_forward(&state, x[1], 1, outputs[1]);
    net_forward(&copy, x[1], 1, NULL);
    net_output(&copy, again);
    for (int i = 0; i < NET_UNITS; ++i) printf("%.9g %.9g\\n", (double)outputs[1][i], (double)again[i]);
    return 0;
}
"""


@needs_compiler
@pytest.mark.parametrize("language", ["C", "C++", "C from C++"])
def test_the_file_is_its_own_header(tmp_path, language):
    """Declarations alone in one translation unit, the definitions in another; each twice included is once."""
    layer = with_weights(SimpleRNN(4), 3)
    export_c(layer, tmp_path / "net.c", name="net")
    (tmp_path / "all.c").write_text('#include "net.c"\n#include "net.c"\n')
    (tmp_path / "user.c").write_text(USER)
    if language != "C" and CXX is None:
        pytest.skip("there is no C++ compiler here")
    cxx = [CXX, "-x", "c++", "-std=c++17", *STRICT, "-Wconversion", "-Wshadow"]
    defines = cxx if language == "C++" else [CC, *C99]
    uses = [CC, *C99] if language == "C" else cxx
    run(*defines, "-c", "-o", tmp_path / "all.o", tmp_path / "all.c")
    run(*uses, "-c", "-o", tmp_path / "user.o", tmp_path / "user.c")
    run(*(uses[:1]), "-o", tmp_path / "main", tmp_path / "user.o", tmp_path / "all.o", "-lm")
    got = np.array([line.split() for line in run(tmp_path / "main").splitlines()], "f4")
    expected = layer(np.array([[[1, 0, 0], [0, -1, 0]]], "f4"))[0]
    np.testing.assert_allclose(got, np.stack([expected, expected], 1), rtol=0, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cpp_takes_every_activation(tmp_path, dtype):
    if CXX is None:
        pytest.skip("there is no C++ compiler here")
    chain = [Activation(name, dtype=dtype) for name in sorted(ACTIVATIONS)]
    model = with_weights(cyrnn.Sequential([SimpleRNN(3, return_sequences=True, dtype=dtype), *chain]), 2)
    export_c(model, tmp_path / "net.c")
    run(CXX, "-x", "c++", "-std=c++17", *STRICT, "-c", "-o", tmp_path / "net.o", tmp_path / "net.c")


@needs_compiler
def test_two_files_go_into_one_translation_unit(tmp_path):
    for name in ("first", "second"):
        export_c(with_weights(SimpleRNN(3), 2), tmp_path / f"{name}.c", name=name)
    (tmp_path / "both.c").write_text('#include "first.c"\n#include "second.c"\n')
    run(CC, *C99, "-c", "-o", tmp_path / "both.o", tmp_path / "both.c")


@needs_compiler
def test_nothing_is_allocated_and_nothing_is_kept(tmp_path):
    model = with_weights(MODELS["a classifier"]("float32"), 5)
    export_c(model, tmp_path / "net.c", name="net")
    text = (tmp_path / "net.c").read_text()
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    assert not re.search(r"\b(malloc|calloc|realloc|free|lock|errno|extern \w|goto|volatile)\b", code)
    assert set(re.findall(r"^ *static (\w+)", code, re.M)) <= {"const", "void"}
    assert set(re.findall(r"#include (\S+)", code)) == {"<stddef.h>", "<math.h>"}
    assert "cosh" not in code and "sparsemax" not in code and "net_softmax" in code  # only what is used
    if shutil.which("nm"):
        run(CC, *C99, "-c", "-o", tmp_path / "net.o", tmp_path / "net.c")
        kinds = [line.split()[-2:] for line in run("nm", tmp_path / "net.o").splitlines()]
        assert not [name for kind, name in kinds if kind in "bBdDcC"]  # no memory that could change
        assert {name.strip("_") for kind, name in kinds if kind == "T"} == {
            f"net_{function}" for function in ("init", "step", "forward", "output")
        }


def test_the_same_model_gives_the_same_file_at_once_or_none(tmp_path, monkeypatch):
    layer = with_weights(SimpleRNN(3), 2)
    for path in (tmp_path / "a.c", os.fspath(tmp_path / "b.c")):
        export_c(layer, path, name="net")
    a, b = (tmp_path / name for name in ("a.c", "b.c"))
    assert a.read_text() == b.read_text().replace("b.c", "a.c")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        export_c(layer, a, name="other")
    assert sorted(tmp_path.iterdir()) == [a, b] and "other" not in a.read_text()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        export_c(layer, tmp_path / "nowhere" / "net.c")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_are_exact(tmp_path, dtype):
    info = np.finfo(dtype)
    layer = with_weights(SimpleRNN(7, dtype=dtype), 2)
    special = [info.max, -info.max, info.tiny, info.smallest_subnormal, 0.0, -0.0, 0.1]
    layer.bias = special
    export_c(layer, tmp_path / "net.c")
    arrays = re.findall(r"^static const \w+ \w+?_(bias|kernel|recurrent_kernel)_1\S* = (\{.*?\});", *both(tmp_path))
    assert len(arrays) == 3
    for kind, text in arrays:
        numbers = [float.fromhex(number) for number in re.findall(r"-?0x[0-9a-f.]+p[+-]\d+", text)]
        weight = getattr(layer, kind)
        assert np.array(numbers, dtype).tobytes() == weight.tobytes()


def both(folder):
    return (folder / "net.c").read_text(), re.M | re.S


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("layer_name", "prefix"),
    [
        ("simple_rnn", "simple_rnn"),
        ("My net-2.1", "My_net_2_1"),
        ("2nd", "model_2nd"),
        ("_private__name_", "private_name"),
        ("double", "model_double"),
        ("co_await", "model_co_await"),
        ("réseau", "r_seau"),
        ("网络", "model"),
    ],
)
def test_names_from_layers(tmp_path, layer_name, prefix):
    export_c(with_weights(SimpleRNN(2, name=layer_name), 1), tmp_path / "net.c")
    assert f"void {prefix}_step({prefix}_state *state" in (tmp_path / "net.c").read_text()


@pytest.mark.parametrize("name", ["", "2nd", "a b", "a-b", "é", "a\n", "int", "class", "_net", "a;", 3, b"a"])
def test_bad_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="name must be an identifier of C"):
        export_c(with_weights(SimpleRNN(2), 1), tmp_path / "net.c", name=name)
    assert not list(tmp_path.iterdir())


@needs_compiler
def test_no_name_of_a_layer_or_file_leaves_its_comment(tmp_path):
    hostile = '*" /*\n#error "no" \\\n??'.replace("/*", "*|").replace("|", chr(47))
    layer = with_weights(SimpleRNN(2, name=hostile.replace("/", "")), 1)
    layer.name = hostile  # as a file could have it
    path = tmp_path / '*" ??\n.c'
    export_c(layer, path, name="net")
    assert "#error" not in path.read_text()
    path.rename(tmp_path / "net.c")
    run(CC, *C99, "-c", "-o", tmp_path / "net.o", tmp_path / "net.c")


# ---------------------------------------------------------------- what cannot be said in C


class OwnCell:
    state_size = 3

    def call(self, inputs, states):
        return states[0], states


class OwnLayer(SimpleRNN):
    def call(self, sequences, **kwargs):
        return super().call(sequences, **kwargs) * 2


def built(layer, shape):
    layer.build(shape)
    return layer


def model(*layers, features=3):
    return built(cyrnn.Sequential(layers), (None, 4, features))


def changed(model, **attributes):
    """The model with attributes of its first layer set: together with its other layers, no call would take them."""
    for name, value in attributes.items():
        setattr(model.layers[0], name, value)
    return model


REFUSED = {
    "Bidirectional": (
        lambda: with_weights(Bidirectional(SimpleRNN(2), name="both"), 3),
        "'both'.*from the last timestep to the first",
    ),
    "go_backwards": (lambda: with_weights(SimpleRNN(2, go_backwards=True, name="back"), 3), "'back'.*goes backwards"),
    "a cell of one's own": (lambda: with_weights(RNN(OwnCell()), 3), "'rnn.*takes cells of Keras"),
    "a layer of one's own": (lambda: with_weights(OwnLayer(2, name="own"), 3), "'own'.*`call` of its own"),
    "an activation of one's own": (
        lambda: with_weights(SimpleRNN(2, np.tanh, name="rnn"), 3),
        "'rnn'.*with activations of Keras",
    ),
    "a head with one": (
        lambda: model(SimpleRNN(2), Dense(1, np.tanh, name="head")),
        "'head'.*activation <ufunc 'tanh'> is a custom one",
    ),
    "not built": (lambda: SimpleRNN(2, name="rnn"), "'rnn'.*not built"),
    "a model not built": (lambda: cyrnn.Sequential([SimpleRNN(2)], name="net"), "'net'.*not built"),
    "sequences that ended": (
        lambda: changed(
            model(SimpleRNN(2, return_sequences=True, name="below"), SimpleRNN(2, name="above")),
            return_sequences=False,
        ),
        "'above'.*must have the axes .batch, timesteps, features.*shape .None, 2",
    ),
    "states handed on": (
        lambda: changed(
            model(SimpleRNN(2, return_sequences=True, name="below"), SimpleRNN(2, name="above")), return_state=True
        ),
        "'above'.*its inputs are no tensors of the model, or they are several",
    ),
    "float16": (lambda: with_weights(SimpleRNN(2, dtype="float16", name="rnn"), 3), "'rnn'.*float16"),
    "mixed_float16": (lambda: with_weights(SimpleRNN(2, dtype="mixed_float16"), 3), "mixed_float16"),
    "two dtypes": (
        lambda: model(SimpleRNN(2, dtype="float64"), Dropout(0.1, name="drop")),
        "'drop'.*must be the float64 of 'simple_rnn.*got float32",
    ),
    "a cell in a model": (lambda: model(SimpleRNNCell(2, name="cell")), "'cell'.*put it into an RNN"),
    "no timesteps": (lambda: built(cyrnn.Sequential([Dense(2)]), (None, 3)), "it has no timesteps"),
    "all timesteps at once": (
        lambda: model(SimpleRNN(2, return_sequences=True), GlobalMaxPooling1D(name="pool")),
        "'pool'.*one result for all timesteps",
    ),
    "a mask as an input": (
        lambda: cyrnn.Model(
            [x := cyrnn.Input((None, 3)), mask := cyrnn.Input((None,), dtype="bool")], SimpleRNN(2)(x, mask=mask)
        ),
        "an input is the mask of a layer, and steps have none",
    ),
    "another layer at each timestep": (
        lambda: model(SimpleRNN(2, return_sequences=True), TimeDistributed(cyrnn.Sequential([Dense(2)]), name="each")),
        "'each'.*its layer is a Sequential",
    ),
    "weights that do not fit": (
        lambda: model(SimpleRNN(2), built(Dense(3, name="wide"), (None, 7))),
        "'wide'.*takes 7 features, and its input has the shape .None, 2",
    ),
    "no features": (lambda: built(SimpleRNN(2), (None, None, 0)), "an input or output has no elements"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_layer_and_why(tmp_path, case):
    make, words = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s){words}"):
        export_c(make(), tmp_path / "net.c")
    assert not list(tmp_path.iterdir())


def test_an_op_without_c_code_is_refused_with_its_layer(tmp_path, monkeypatch):
    monkeypatch.delattr(Replay, "dense")
    with pytest.raises(
        ValueError, match="cannot be exported to C: layer 'head': there is no C code for its op 'dense'"
    ):
        export_c(model(SimpleRNN(2), Dense(1, name="head")), tmp_path / "net.c")


@pytest.mark.parametrize("what", [None, "model.keras", OwnCell()])
def test_what_is_no_layer(tmp_path, what):
    with pytest.raises(TypeError, match="layer must be a layer or model of cyrnn"):
        export_c(what, tmp_path / "net.c")

"""The command line: what it prints, its exit codes, and that a wrong call gets one line and no traceback."""

import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import cli
from cyrnn.cli import text as cli_text
from cyrnn.layers import Dense, Input, SimpleRNN
from cyrnn.saving import load_model
from cyrnn.saving.safetensors import write_safetensors

DATA = resources.files("cyrnn") / "data"
MODEL = os.fspath(Path(str(DATA)) / "digits.keras")


@pytest.fixture
def digits(tmp_path):
    """Keras' outputs for the samples in x.npy."""
    with np.load(Path(str(DATA)) / "digits.npz", allow_pickle=False) as arrays:
        np.save(tmp_path / "x.npy", arrays["x"].astype("float32") / 16)
        return arrays["keras_outputs"]


@pytest.mark.parametrize("options", [[], ["--batch-size", "7"], ["--threads", "1"]])
def test_predict(digits, tmp_path, capsys, options):
    out = tmp_path / "y.npy"
    assert cli.main(["predict", MODEL, str(tmp_path / "x.npy"), "-o", str(out), *options]) == 0
    y = np.load(out)
    np.testing.assert_allclose(y, digits, atol=1e-5)
    assert capsys.readouterr().out == f"{out}: {y.shape} float32\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "y.npy"]  # no temporary file stays


@pytest.mark.thread_unsafe(reason="its fixture writes to one folder")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes in folders")
def test_what_output_is_written_to(digits, tmp_path):
    """Links are followed, modes kept, read-only files refused, and what is no regular file stays what it is."""
    target, link, private, pipe = (tmp_path / name for name in ("target.npy", "link.npy", "private.npy", "pipe"))
    arguments = ["predict", MODEL, str(tmp_path / "x.npy"), "-o"]
    target.touch()
    link.symlink_to(target)
    assert cli.main([*arguments, str(link)]) == 0
    assert link.is_symlink() and np.load(target).shape == digits.shape
    private.touch(0o600)
    assert cli.main([*arguments, str(private)]) == 0
    assert private.stat().st_mode & 0o777 == 0o600
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert cli.main([*arguments, str(pipe)]) == 0
    reader.join()
    assert pipe.is_fifo() and received[0] == target.read_bytes()


def test_info(capsys):
    assert cli.main(["info", MODEL]) == 0
    printed = capsys.readouterr().out
    model = load_model(MODEL)
    assert "in the format of Keras 3." in printed and f"{model.count_params():,} parameters" in printed
    for layer in model.layers:
        assert re.search(rf"{layer.name} +{type(layer).__name__} ", printed)


def test_config(capsys):
    assert cli.main(["config"]) == 0
    printed = capsys.readouterr().out
    facts = cyrnn.show_config("dicts")
    for key, value in facts.items():
        assert re.search(rf"^{key} +{re.escape(str(value))}$", printed, re.M)
    assert capsys.readouterr().out == ""
    assert cyrnn.show_config("dicts") is not facts
    assert cyrnn.show_config() is None and capsys.readouterr().out == printed
    with pytest.raises(ValueError, match="mode.*'json'"):
        cyrnn.show_config("json")


def test_config_for_programs(capsys):
    assert cli.main(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == cyrnn.show_config("dicts")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-P", "-m", "cyrnn", *map(str, arguments)], capture_output=True, text=True, cwd="/"
    )


def test_python_m_cyrnn():
    assert command("--version").stdout == f"cyrnn {cyrnn.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "none.keras"], "none.keras"),
        (["info", "x.npy"], "neither a sound .keras file nor a sound .h5 file"),
        (["info", "."], "directory"),
        (["predict", "none.keras", "x.npy", "-o", "y.npy"], "none.keras"),
        (["predict", MODEL, "none.npy", "-o", "y.npy"], "none.npy"),
        (["predict", MODEL, MODEL, "-o", "y.npy"], "not a .npy file"),
        (["predict", MODEL, "empty.npy", "-o", "y.npy"], "not a .npy file"),
        (["predict", MODEL, "pickle.npy", "-o", "y.npy"], "not a .npy file"),
        (["predict", MODEL, "header.npy", "-o", "y.npy"], "not a .npy file"),
        (["predict", MODEL, os.devnull, "-o", "y.npy"], "not a regular file"),
        (["info", os.devnull], "not a regular file"),
        (["predict", MODEL, "short.npy", "-o", "y.npy"], r"\(None, 8, 8\).*\(4, 8, 7\)"),
        (["predict", MODEL, "flat.npy", "-o", "y.npy"], r"\(None, 8, 8\).*\(64,\)"),
        (["predict", MODEL, "text.npy", "-o", "y.npy"], "real numbers"),
        (["predict", MODEL, "x.npy", "-o", "nowhere/y.npy"], "nowhere"),
        (["predict", MODEL, "x.npy", "-o", "."], "directory"),
        (["predict", MODEL, "x.npy", "-o", "y.npy", "--batch-size", "0"], "batch_size"),
        (["predict", MODEL, "x.npy", "-o", "y.npy", "--threads", "-1"], "num_threads"),
    ],
)
def test_a_wrong_call_gets_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((4, 8, 8), "float32"))
    np.save("short.npy", np.zeros((4, 8, 7), "float32"))
    np.save("flat.npy", np.zeros(64, "float32"))
    np.save("text.npy", np.full((4, 8, 8), "a"))
    np.save("pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    Path("empty.npy").touch()
    Path("header.npy").write_bytes(Path("x.npy").read_bytes().replace(b"(4, 8, 8)", b"(-4,8, 8)"))
    Path("y.npy").write_text("what was there")
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith(f"cyrnn {arguments[0]}: ")
    assert re.search(words, captured.err)
    assert Path("y.npy").read_text() == "what was there"


def test_cyrnn_alone_prints_the_help():
    run = command()
    assert run.returncode == 0 and run.stderr == "" and run.stdout == command("--help").stdout
    for name in ("demo", "info", "predict", "convert", "bench", "config"):
        assert re.search(rf"^    {name} +\w", run.stdout, re.M)


@pytest.mark.parametrize("name", ["demo", "info", "predict", "convert", "bench", "config"])
def test_help_has_defaults_and_two_examples(capsys, name):
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    printed = capsys.readouterr().out
    assert (
        caught.value.code == 0
        and len(re.findall(rf"^  .*cyrnn {name}\b", printed.partition("examples:")[2], re.M)) == 2
    )
    options = re.findall(r"^  (-.*(?:\n {8,}.*)*)", printed.partition("examples:")[0], re.M)
    for option in options:
        assert option.startswith(("-h", "-o")) or "default:" in option, option


def test_only_what_a_command_needs_is_imported():
    code = """
import sys
from cyrnn import cli
try:
    cli.main(sys.argv[1:])
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""
    of_commands = {f"cyrnn.cli.{name}" for name in ("demo", "info", "predict", "convert", "bench", "config", "inputs")}
    for arguments in (
        [], ["--version"], ["unknown"], ["predict", "--help"], ["bench", "m.keras", "--batch", "0"],
        ["info", "no.keras"], ["bench", "no.keras"], ["convert", "no.keras", "m.h5"], ["convert", MODEL],
        ["predict", "no.keras", "x.npy", "-o", "y.npy"], ["predict", MODEL, "no.npy", "-o", "y.npy"],
        ["predict", MODEL, MODEL, "-o", "y.txt"], ["predict", MODEL, MODEL, "-o", MODEL],
        ["predict", MODEL, "x.zarr", "-o", "y.npy"], ["predict", MODEL, "x.npy", "-o", "y.npy", "--no-resume"],
    ):  # fmt: skip
        assert not (of_commands | {"numpy", "shutil"}) & set(run_python(code, *arguments).stderr.split()), arguments
    imported = set(run_python(code, "info", MODEL).stderr.split())
    assert "cyrnn.cli.info" in imported
    others = {"cyrnn.saving.onnx.export", "cyrnn.saving.onnx.importer", "cyrnn.saving.c.export", "scipy", "matplotlib"}
    assert not (others | of_commands - {"cyrnn.cli.info"}) & imported


@pytest.mark.thread_unsafe(reason="changes the streams of the process")
def test_columns_are_those_that_are_asked_for_or_of_a_terminal(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", None)  # a process without a console
    assert cli_text.columns() == 80
    monkeypatch.setenv("COLUMNS", "0")
    assert cli_text.columns() == 80
    monkeypatch.setenv("COLUMNS", "123")
    assert cli_text.columns() == 123


@pytest.mark.thread_unsafe(reason="changes the streams of the process")
def test_columns_keep_four_characters_where_a_table_does_not_fit(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "4")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    cli_text.print_table(["name", "kind"], [["abcdefgh", "stuvwxyz"]])
    assert capsys.readouterr().out == "  name  kind\n  abcd  stuv\n  efgh  wxyz\n"


@pytest.mark.skipif(os.name != "posix", reason="this system has no such terminals")
@pytest.mark.parametrize("columns", [40, 60, 200])
def test_tables_fit_the_terminal(columns):
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    path = GOLDEN / "translator.keras"
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    run = subprocess.run(
        [sys.executable, "-P", "-m", "cyrnn", "info", path.name], stdout=theirs, env=environment, cwd=path.parent
    )
    os.close(theirs)
    printed = os.read(ours, 1 << 16).decode().splitlines()
    os.close(ours)
    assert run.returncode == 0
    table = [line for line in printed if line.startswith("  ")]
    assert max(map(len, table)) <= columns
    on_one_line = any(
        re.match(r"  embedding +Embedding +\(None, None, 2\) +14 +float32 +source, target$", line) for line in table
    )
    assert on_one_line == (columns == 200)


@pytest.mark.parametrize("arguments", [["train"], ["predict", "m.keras"], ["info"]])
def test_usage(arguments):
    run = command(*arguments)
    assert run.returncode == 2 and "usage: cyrnn" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["predict", MODEL, "x.npy", "-o", "y.npy", "--bacth-size", "3"],
            "--bacth-size 3; did you mean '--batch-size'?",
        ),
        (["config", "--jsn=1"], "--jsn=1; did you mean '--json'?"),
        (["info", MODEL, "more"], "unrecognized arguments: more\n"),
        (["bench", MODEL, "--seconds", "0"], "must be a number above 0, got '0'"),
        (["bench", MODEL, "--seconds", "nan"], "must be a number above 0, got 'nan'"),
        (["bench", MODEL, "--seconds", "some"], "must be a number above 0, got 'some'"),
    ],
)
def test_options_that_there_are_not_have_a_hint(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    printed = capsys.readouterr().err
    assert caught.value.code == 2 and words in printed and f"usage: cyrnn {arguments[0]} " in printed


def test_info_of_a_file_of_keras_2(capsys):
    assert cli.main(["info", str(Path(__file__).parent / "golden" / "files" / "keras2.h5")]) == 0
    printed = capsys.readouterr().out
    assert "in the format of Keras 2." in printed and re.search(r"simple_rnn +SimpleRNN +\(None, 6, 4\) +32", printed)


def test_files_are_read_without_h5py():
    code = f"import sys; sys.modules['h5py'] = None; from cyrnn.cli import main; sys.exit(main(['info', {MODEL!r}]))"
    run = run_python(code)
    assert "13,578 parameters" in run.stdout and run.stderr == ""


def test_writing_without_h5py_says_what_to_install():
    code = f"""
import sys
sys.modules["h5py"] = None
import cyrnn
cyrnn.saving.save_model(cyrnn.saving.load_model({MODEL!r}), "never_written.keras")
"""
    run = run_python(code, check=False)
    assert "pip install 'cyrnn[h5]'" in run.stderr and not Path("never_written.keras").exists()


# ------------------------------------------------------------ info

GOLDEN = Path(__file__).parent / "golden"


def changed(source, target, change):
    """A .keras file with its config changed."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as new:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                config = json.loads(content)
                change({entry["config"]["name"]: entry for entry in config["config"]["layers"]})
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return str(target)


def unknown(name, class_name="MyLayer", package="pkg>"):
    def change(entries):
        entries[name] |= {"module": None, "class_name": class_name, "registered_name": package + class_name}

    return change


def info(capsys, path):
    code = cli.main(["info", str(path)])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out


def test_info_says_what_a_model_runs_as(capsys, tmp_path):
    code, printed = info(capsys, MODEL)
    assert code == 0 and "runs as 1 program of 3 ops\n" in printed and "Python calls" not in printed
    halves = [Dense(2, dtype="float16", name=f"half_{number}") for number in range(7)]
    model = cyrnn.Sequential([Input((None, 3)), SimpleRNN(2, return_sequences=True), *halves, SimpleRNN(2)])
    cyrnn.saving.save_model(model, tmp_path / "m.keras")
    code, printed = info(capsys, tmp_path / "m.keras")
    assert code == 0 and "runs as 2 programs of 2 ops\n" in printed
    assert "Python calls half_0 (its results are rounded to float16), half_1 (" in printed and printed.endswith(
        "half_4 (its results are rounded to float16), and 2 more\n"
    )


def test_info_of_a_model_whose_vocabulary_is_in_the_file(capsys, tmp_path):
    text = cyrnn.layers.TextVectorization()
    text.adapt(["the cat", "the dog"])
    cyrnn.Sequential([Input((1,), dtype="string"), text, cyrnn.layers.Embedding(5, 2)]).save(tmp_path / "m.keras")
    code, printed = info(capsys, tmp_path / "m.keras")
    assert code == 0 and "Python calls text_vectorization" in printed


def test_info_of_a_graph_says_what_is_connected(capsys):
    code, printed = info(capsys, GOLDEN / "translator.keras")
    assert code == 0
    for line in (
        r"source +InputLayer +\(None, None\) +0 +int32$",
        r"embedding +Embedding +\(None, None, 2\) +14 +float32 +source, target$",
        r"not_equal +NotEqual +\(None, None\) +0 +source$",
        r"decoder +SimpleRNN +\(None, None, 3\) +18 +float32 +embedding, encoder$",
    ):
        assert re.search(line, printed, re.M), line


def test_info_of_a_row_with_a_class_that_nobody_knows(capsys, tmp_path):
    code, printed = info(capsys, changed(MODEL, tmp_path / "m.keras", unknown("simple_rnn_1")))
    assert code == 1
    for line in (
        r"simple_rnn +SimpleRNN +\(None, 8, 64\) +4,672 +float32$",
        r"simple_rnn_1 +MyLayer +\? +\? +float32$",
        r"dense +Dense +\(None, 10\) +650 +float32$",
        r"cannot run here: layer 'simple_rnn_1' is of the unknown class 'pkg>MyLayer'.*custom_objects",
    ):
        assert re.search(line, printed, re.M), line


def test_info_of_a_graph_with_a_lambda(capsys, tmp_path):
    change = unknown("decoder", "Lambda", "")
    code, printed = info(capsys, changed(GOLDEN / "translator.keras", tmp_path / "m.keras", change))
    assert code == 1
    for line in (
        r"encoder +SimpleRNN +.*\(None, 3\).* +18 +float32 +embedding, not_equal$",
        r"decoder +Lambda +\(None, None, 3\) +\? +float32 +embedding, encoder$",
        r"words +Dense +\(None, None, 7\) +21 +float32 +bidirectional$",
        r"cannot run here: layer 'decoder' is of the unknown class 'Lambda'.*never run$",
    ):
        assert re.search(line, printed, re.M), line
    assert printed.count("cannot run") == 1


def test_info_of_a_keras_2_file_with_a_class_that_nobody_knows(capsys, tmp_path):
    content = (GOLDEN / "files" / "keras2.h5").read_bytes()
    assert content.count(b'"class_name": "Dropout"')
    (tmp_path / "m.h5").write_bytes(content.replace(b'"class_name": "Dropout"', b'"class_name": "D\\u001b"'))
    code, printed = info(capsys, tmp_path / "m.h5")
    assert code == 1 and r"D\x1b" in printed and "in the format of Keras 2." in printed and "\x1b" not in printed
    assert re.search(r"simple_rnn +SimpleRNN +\(None, 6, 4\) +32", printed)


def test_info_where_the_weights_do_not_fit(capsys, tmp_path):
    def change(entries):
        entries["dense"]["config"]["units"] = 11

    code, printed = info(capsys, changed(MODEL, tmp_path / "m.keras", change))
    assert code == 1 and re.search(r"dense +Dense +\(None, 11\) +715", printed)
    assert re.search(r"cannot run here: .*'kernel' of layer 'dense'.* \(64, 11\), the file has \(64, 10\)", printed)


@pytest.mark.parametrize("end", [".weights.h5", ".npz", ".safetensors"])
def test_info_of_weights(capsys, tmp_path, end):
    model = load_model(MODEL)
    model.save_weights(tmp_path / f"w{end}")
    code, printed = info(capsys, tmp_path / f"w{end}")
    assert code == 0 and "weights without a model" in printed and "13,578 elements" in printed
    name = "layers/dense/vars/0" if end == ".weights.h5" else "dense/kernel"
    assert re.search(rf"{name} +\(64, 10\) +640 +float32$", printed, re.M)


def test_info_of_weights_of_keras_2_and_torch(capsys):
    code, printed = info(capsys, GOLDEN / "files" / "keras2_weights.h5")
    assert code == 0 and re.search(r"dense_3/dense_3/kernel:0 +\(2, 2\) +4 +float32", printed)
    code, printed = info(capsys, GOLDEN / "files" / "torch.safetensors")
    assert code == 0 and re.search(r"deep.weight_hh_l0 +\(4, 4\) +16 +float32", printed)


def test_info_of_weights_with_a_link_and_a_loop(capsys, tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((4, 2), "f8")
        file["layers/dense/loop"] = file["layers"]
        file["layers/away"] = h5py.SoftLink("/elsewhere")
        file["layers/text"] = "words"
    code, printed = info(capsys, tmp_path / "w.weights.h5")
    assert code == 1 and re.search(r"layers/dense/vars/0 +\(4, 2\) +8 +float64", printed)
    assert "cannot run here: layers/away: 'away' is a link to elsewhere" in printed and "layers/text" in printed


def test_info_of_names_made_to_deceive(capsys, tmp_path):
    name = "\x1b]0;owned\x07\r\n\u202e\ud800" + "x" * 100_000
    arrays = {name: np.zeros(3, "f4"), **{str(i): np.zeros(1, "f4") for i in range(3000)}}
    header, end = {}, 0
    for key, array in arrays.items():
        header[key] = {"dtype": "F32", "shape": [len(array)], "data_offsets": [end, end := end + array.nbytes]}
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    code, printed = info(capsys, tmp_path / "w.safetensors")
    assert code == 0 and all(character.isprintable() for line in printed.split("\n") for character in line)
    assert r"\x1b]0;owned\x07\r\n\u202e\ud800xxx" in printed and "... and 2,001 more" in printed
    assert len(printed) < 1_000_000 and max(map(len, printed.split("\n"))) < 1000
    assert cli.main(["info", str(tmp_path / "\x1b[31mred")]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="this system has no such pipes")
def test_info_for_a_reader_that_goes_away():
    command = f"{sys.executable} -P -m cyrnn info {MODEL} | true; echo ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert run.stderr == "" and run.stdout in ("0\n", "141\n")


# ------------------------------------------------------------ convert


@pytest.fixture
def model(tmp_path, monkeypatch):
    pytest.importorskip("h5py", reason="needs h5py: pip install '.[test]'")
    monkeypatch.chdir(tmp_path)
    made = cyrnn.Sequential([cyrnn.Input((4, 2)), cyrnn.layers.SimpleRNN(3), cyrnn.layers.Dense(2)])
    made.save("m.keras")
    return made


def test_convert(model, capsys):
    for name in ("new.keras", "w.weights.h5", "w.npz", "w.safetensors", "m.c"):
        Path(name).write_text("what was there, which is replaced as cp does")
        assert cli.main(["convert", "m.keras", name]) == 0
        assert capsys.readouterr().out == f"{name}: Sequential, 26 parameters\n"
    x = np.random.default_rng(0).standard_normal((5, 4, 2), dtype="float32")
    assert np.array_equal(load_model("new.keras")(x), model(x))
    for name in ("w.weights.h5", "w.npz", "w.safetensors"):
        again = cyrnn.from_json(model.to_json())
        again.load_weights(name)
        assert np.array_equal(again(x), model(x))
    assert "_forward(" in Path("m.c").read_text()


def test_convert_to_onnx_and_back(model, capsys):
    pytest.importorskip("onnx", reason="needs onnx: pip install '.[test-onnx]'")
    assert cli.main(["convert", "m.keras", "m.onnx"]) == 0
    assert cli.main(["convert", "m.onnx", "back.keras"]) == 0
    assert capsys.readouterr().err == ""
    x = np.random.default_rng(0).standard_normal((5, 4, 2), dtype="float32")
    np.testing.assert_allclose(load_model("back.keras").predict(x), model(x), atol=1e-6)


def test_convert_a_file_of_keras_2(model, capsys):
    source = GOLDEN / "files" / "keras2.h5"
    assert cli.main(["convert", str(source), "new.keras"]) == 0
    x = np.ones((2, *load_model(source).input_shape[1:]), "float32")
    assert np.array_equal(load_model("new.keras").predict(x), load_model(source).predict(x))


@pytest.mark.parametrize("prefix", ["", "encoder.rnn."])
def test_convert_from_torch(model, capsys, prefix):
    layer = cyrnn.layers.SimpleRNN(3, return_sequences=True, activation="relu")
    x = np.random.default_rng(0).standard_normal((5, 4, 2), dtype="float32")
    expected = layer(x)
    kernel, recurrent_kernel, bias = layer.get_weights()
    arrays = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent_kernel.T, "bias_ih_l0": bias, "bias_hh_l0": 0 * bias}
    named = {prefix + name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with Path("torch.safetensors").open("wb") as file:
        write_safetensors(file, named)
    assert cli.main(["convert", "torch.safetensors", "new.keras", "--nonlinearity", "relu"]) == 0
    np.testing.assert_allclose(load_model("new.keras").predict(x), expected, atol=1e-6)
    with Path("torch.safetensors").open("wb") as file:
        write_safetensors(file, {**named, "head.weight": kernel})
    capsys.readouterr()
    assert cli.main(["convert", "torch.safetensors", "other.keras"]) == 2
    assert "head.weight, which would be lost" in capsys.readouterr().err and not Path("other.keras").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.keras", "m.keras"], "m.keras is the file to convert"),
        (["m.keras", "link.keras"], "link.keras is the file to convert"),
        (["m.keras", "m.hdf5"], "m.hdf5 must end in one of .torch.safetensors, .weights.h5, "),
        (["m.keras", "m"], "m must end in one of"),
        (["w.npz", "new.keras"], "w.npz holds weights without a model"),
        (["w.weights.h5", "new.keras"], "w.weights.h5 holds weights without a model"),
        (["w.safetensors", "new.keras"], "w.safetensors holds weights without a model"),
        (["none.keras", "new.keras"], "none.keras"),
        (["none.onnx", "new.keras"], "none.onnx|package onnx"),
        (["m.keras", "nowhere/new.keras"], "nowhere"),
        (["m.keras", "new.keras", "--nonlinearity", "relu"], "--nonlinearity is for files of torch"),
        (["m.keras", "new.keras", "--masks", "right-padded"], "--masks is for files of ONNX, and new.keras is none"),
    ],
)
def test_convert_that_is_wrong(model, capsys, arguments, words):
    Path("link.keras").symlink_to("m.keras")
    for end in (".weights.h5", ".npz", ".safetensors"):
        model.save_weights(f"w{end}")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    assert cli.main(["convert", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("cyrnn convert: ")
    assert re.search(words, captured.err)
    assert {path: path.read_bytes() for path in Path().iterdir()} == before

"""plot_model: pictures of models, by Graphviz where it is, else by matplotlib; and models as tables in notebooks."""

import re
import stat
import sys

import numpy as np
import pytest
from helpers import run_python

import cyrnn
from cyrnn import layers
from cyrnn.utils import plot_model


def graph():
    x = cyrnn.Input((None, 3), name="x")
    one, other = layers.LSTM(4, name="one")(x), layers.GRU(4, name="other")(x)
    return cyrnn.Model(x, layers.Dense(2, activation="tanh", name="end")(layers.Add(name="sum")([one, other * 2.0])))


def row():
    return cyrnn.Sequential([cyrnn.Input((5, 3)), layers.SimpleRNN(4), layers.Dense(1)], name="row")


def arrows(text):
    labels = dict(re.findall(r'(n\d+) \[label="(.*?)"\]', text))
    return {(labels[a].split("\\n")[0], labels[b].split("\\n")[0]) for a, b in re.findall(r"(n\d+) -> (n\d+)", text)}


def test_dot_files_have_all_layers_and_arrows(tmp_path):
    path = tmp_path / "model.dot"
    plot_model(graph(), path)
    expected = {
        ("InputLayer", "LSTM"),
        ("InputLayer", "GRU"),
        ("GRU", "Multiply"),
        ("LSTM", "Add"),
        ("Multiply", "Add"),
    }
    assert arrows(path.read_text()) == expected | {("Add", "Dense")}
    plot_model(row(), path, rankdir="LR")
    assert arrows(path.read_text()) == {("SimpleRNN", "Dense")} and "rankdir=LR" in path.read_text()


def test_boxes_say_what_is_asked_for(tmp_path):
    path = tmp_path / "model.dot"
    shown = ["show_shapes", "show_dtype", "show_layer_names", "show_layer_activations", "show_trainable"]
    plot_model(graph(), path, **dict.fromkeys(shown, True))
    text = path.read_text()
    for line in ("end (Dense)", "activation: tanh", "output: (None, 2)", "dtype: float32", "trainable: Y"):
        assert line in text


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
@pytest.mark.parametrize("end", ["png", "svg"])
def test_matplotlib_draws_them(rankdir, end, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[plot]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / f"model.{end}"
    plot_model(graph(), path, show_shapes=True, rankdir=rankdir, dpi=50)
    begin = path.read_bytes()[:8]
    assert begin == b"\x89PNG\r\n\x1a\n" if end == "png" else b"<?xml" in begin
    plot_model(row(), str(path), rankdir=rankdir, dpi=50)
    if end == "svg":
        assert path.read_text().count("<g id=") > 4


@pytest.mark.skipif(sys.platform == "win32", reason="the program in the place of dot is a script")
def test_graphviz_draws_them_where_it_is(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text(
        f'#!{sys.executable}\nimport sys\nopen(sys.argv[3], "w").write(" ".join(sys.argv[1:]) + sys.stdin.read())\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path))
    plot_model(row(), tmp_path / "model.svg")
    text = (tmp_path / "model.svg").read_text()
    assert text.startswith("-Tsvg -o") and arrows(text) == {("SimpleRNN", "Dense")}
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such format')\n")
    with pytest.raises(ValueError, match=r"Graphviz cannot draw .*model.xyz: no such format"):
        plot_model(row(), tmp_path / "model.xyz")


def test_names_are_text_alone(tmp_path):
    model = cyrnn.Sequential([layers.Dense(1, name='a"]; evil [label="\\n$x$')])
    model.build((None, 2))
    path = tmp_path / "model.dot"
    plot_model(model, path, show_layer_names=True)
    assert path.read_text().count("[label=") == 2 and r"\"]; evil [label=\"\\n" in path.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rankdir": "down"}, "rankdir must be one of 'TB'"),
        ({"expand_nested": True}, "expand_nested=True is not supported"),
        ({"dpi": 0}, "dpi must be an integer"),
        ({"to_file": "model"}, "to_file must end in a format"),
        ({"model": layers.Dense(3)}, "model must be a model of cyrnn, got Dense"),
    ],
)
def test_other_arguments_are_refused(options, message, tmp_path):
    arguments = {"model": row(), "to_file": tmp_path / "model.dot", **options}
    with pytest.raises(ValueError, match=message):
        plot_model(**arguments)


def test_without_both_it_says_what_to_install():
    code = """
import sys; sys.modules["matplotlib"] = None
import cyrnn
try:
    cyrnn.utils.plot_model(cyrnn.Sequential([cyrnn.Input((3,)), cyrnn.layers.Dense(2)]))
except ImportError as error:
    print(error)
"""
    assert "pip install 'cyrnn[plot]'" in run_python(code, PATH="").stdout


# ------------------------------------------------------------ notebooks


def test_models_are_tables_in_notebooks():
    text = graph()._repr_html_()
    assert text.count("<tr>") == 7 and "<td>end</td><td>Dense</td><td>(None, 2)</td>" in text
    assert f"{graph().count_params():,} parameters" in text
    unbuilt = cyrnn.Sequential([layers.Dense(1, name="<b>&")])
    assert "&lt;b&gt;&amp;" in unbuilt._repr_html_() and "<b>" not in unbuilt._repr_html_().replace("<b>Model", "")
    np.testing.assert_equal(unbuilt.built, False)

"""README's Python examples run as they stand."""

import ctypes
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import cyrnn

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(python|c|cython)\n(.*?)^```$", README.read_text(), re.M | re.S)
NAMED = {name[1]: text for _, text in BLOCKS if (name := re.match(r"(?:#|/\*) ([\w.]+)(?=[:\n])", text))}  # files
EXAMPLES = [text for language, text in BLOCKS if language == "python" and text not in NAMED.values()]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example, tmp_path, monkeypatch):
    for package in ("numba", "torch", "jax"):
        if re.search(rf"^import {package}$", example, re.M):
            pytest.importorskip(package, reason=f"{package} is not installed")
    data = resources.files("cyrnn") / "data"
    (tmp_path / "model.keras").write_bytes((data / "digits.keras").read_bytes())
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8), "float32"))
    for name, text in NAMED.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    run_python(f"import numpy; x = numpy.load('x.npy')\n{example}")


def test_the_cython_example(tmp_path, monkeypatch):
    for name, text in NAMED.items():  # in one folder: no file that is made takes the place of another
        (tmp_path / name).write_text(text)
    (tmp_path / "run_stream.so").touch()
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-P", "setup.py", "-q", "build_ext", "--inplace"]
    # Cython looks for packages in folders alone, and does not find an editable installation by its hook.
    environment = {**os.environ, "PYTHONPATH": str(Path(cyrnn.__file__).parents[1]), "CFLAGS": "-O0"}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    run_python(
        """
import sys; sys.path.insert(0, ".")
import numpy as np, cyrnn, stream
layer = cyrnn.layers.SimpleRNN(32, return_sequences=True)
x = np.random.default_rng(0).standard_normal((1, 100, 8), dtype=np.float32)
y = np.empty_like(outputs := layer(x))
stream.run_stream(layer.stepper(), x[0], y[0])
assert np.array_equal(y, outputs)
"""
    )


def test_the_c_example_with_lengths(tmp_path):
    (tmp_path / "batch.c").write_text(NAMED["batch.c"])
    compiler, library = os.environ.get("CC", "cc").split(), str(tmp_path / "batch.so")
    flags = ["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", f"-I{cyrnn.get_include()}"]
    subprocess.run([*compiler, *flags, str(tmp_path / "batch.c"), "-o", library], check=True)
    layer = cyrnn.layers.SimpleRNN(4, return_sequences=True)
    x, lengths = np.random.default_rng(0).standard_normal((3, 7, 5), dtype=np.float32), np.array([7, 0, 4])
    expected = layer(x, mask=np.arange(7) < lengths[:, None])
    outputs, stepper = np.empty_like(expected), layer.stepper()
    pointers = (
        cyrnn.capi.api_address,
        stepper.model_address,
        3,
        7,
        lengths.ctypes.data,
        x.ctypes.data,
        outputs.ctypes.data,
    )
    kinds = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 3]
    run_batch = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(("run_batch", ctypes.CDLL(library)))
    assert run_batch(*pointers) == 0
    np.testing.assert_array_equal(outputs, expected)


def test_the_program_made_of_a_model(tmp_path, monkeypatch):
    (tmp_path / "main.c").write_text(NAMED["main.c"])
    monkeypatch.chdir(tmp_path)
    run_python(next(example for example in EXAMPLES if "export_c" in example))
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-Wall", "-Werror", "-O3", "main.c", "digits.c", "-lm", "-o", "main"], check=True)
    printed = subprocess.run(["./main"], check=True, capture_output=True, text=True, env={}).stdout
    model = cyrnn.saving.load_model(resources.files("cyrnn") / "data" / "digits.keras")
    image = np.zeros((1, 8, 8), "float32")
    image[0, 0, [2, 5]] = 1
    np.testing.assert_allclose([float(line.split()[1]) for line in printed.splitlines()], model(image)[0], atol=1e-4)


def test_there_are_examples():
    assert len(EXAMPLES) >= 6
    assert set(NAMED) == {"run_stream.c", "batch.c", "stream.pyx", "setup.py", "main.c"}


def test_files_that_readme_links_to_exist():
    for link in re.findall(r"\]\(([^):]+)\)", README.read_text()):
        assert os.path.exists(README.parent / link), link  # noqa: PTH110

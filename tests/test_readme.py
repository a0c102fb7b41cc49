"""README's Python examples run as they stand."""

import os
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example, tmp_path, monkeypatch):
    data = resources.files("cyrnn") / "data"
    (tmp_path / "model.keras").write_bytes((data / "digits.keras").read_bytes())
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8), "float32"))
    monkeypatch.chdir(tmp_path)
    run_python(f"import numpy; x = numpy.load('x.npy')\n{example}")


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


def test_files_that_readme_links_to_exist():
    for link in re.findall(r"\]\(([^):]+)\)", README.read_text()):
        assert os.path.exists(README.parent / link), link  # noqa: PTH110

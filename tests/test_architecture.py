"""The house: four floors, and imports go down only."""

import ast
from pathlib import Path

from helpers import run_python

import cyrnn

ROOT = Path(cyrnn.__file__).parent

# From the ground up; a module may import from its own floor and those below it.
FLOORS = [
    ["_version", "locks"],
    ["engine"],
    [
        "arrays",
        "objects",
        "dtypes",
        "configurable",
        "random",
        "initializers",
        "regularizers",
        "constraints",
        "activation_formulas",
        "activations",
        "layers",
    ],
    ["models", "saving"],
    ["capi", "config", "demo", "cli", "__init__", "__main__"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def modules():
    for path in sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.pyx")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, parts[0]


def imported(path):
    """The first-level names below cyrnn that a module imports: cyrnn.layers.base.layer -> layers."""
    if path.suffix == ".pyx":
        lines = [line.split() for line in path.read_text().splitlines() if line.strip().startswith(("from", "import"))]
        targets = [word for words in lines for word in words[1:2]]
    else:
        targets = []
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "cyrnn":
                targets += [f"cyrnn.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                targets.append(node.module)
    for target in targets:
        first, _, rest = target.partition(".")
        if first == "cyrnn":
            yield rest.partition(".")[0] or "__init__"


def test_every_module_has_its_floor():
    assert {name for _, name in modules()} == set(FLOOR)


def test_imports_go_down_only():
    arrows = [(path, name, target) for path, name in modules() for target in imported(path)]
    assert len(arrows) > 50
    for path, name, target in arrows:
        target = target if target in FLOOR else "__init__"  # `from cyrnn import Sequential` and the like
        assert FLOOR[target] <= FLOOR[name], f"{path.relative_to(ROOT)} ({name}) imports {target}, which is above it"


def test_layers_know_no_pointers_and_the_engine_no_options():
    for path, name in modules():
        text = path.read_text()
        if name == "layers":
            assert "ctypes" not in text and "cython" not in text.lower(), path
        if name == "engine" and path.suffix == ".pyx":
            assert "return_sequences" not in text and "stateful" not in text, path


def test_nothing_heavy_is_imported_before_it_is_needed():
    heavy = ("scipy", "h5py", "tqdm", "ml_dtypes", "onnx")
    code = f"import sys, cyrnn; print([m for m in {heavy!r} if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"

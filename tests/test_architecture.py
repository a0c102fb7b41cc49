"""The house: rooms on floors. Imports go down only, and nowhere in a circle.

Everything counts as an import: at the top of a module, inside a function, under ``if TYPE_CHECKING``, ``cimport``,
``#include``, ``extern from``, and a string that names a module, as lazy tables hold them.
"""

import ast
import functools
import re
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from helpers import run_python

import cyrnn

ROOT = Path(cyrnn.__file__).parent

# From the ground up. A room is a module or a package with all that is in it, if no other room names it more closely.
# Rooms on one floor do not know each other.
FLOORS = [
    ["_version", "budget", "locks", "arrays", "notices"],
    ["engine"],
    ["objects", "activation_formulas"],
    ["dtypes", "configurable"],
    ["random", "mixed_precision"],
    ["initializers", "regularizers", "constraints", "activations", "utils"],
    ["backend"],
    ["layers.base", "preprocessing"],
    ["layers.recurrent"],
    ["layers.around"],
    ["layers.products", "layers.text"],
    ["layers"],
    ["saving", "optimizers", "losses"],  # they know layers and their weights, by path in the files, and never a model
    ["metrics", "callbacks"],  # of losses; of files
    ["training", "dask.arrays"],  # whose tasks know layers that predict
    ["models"],
    ["saving.onnx", "saving.c", "saving.torch", "saving.live"],
    ["saving.interchange"],
    ["saving.__init__", "capi", "config", "timing"],
    ["__init__"],
    ["demo", "torch", "jax", "dask"],
    ["cli"],
    ["__main__"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MOST_LINES = 400  # of a file
MOST_FILES = 20  # of a folder, that can be seen at one look; the engine's are of several kinds


def python_name(path):
    """``layers/base/nest.py`` -> ``layers.base.nest``; a package is called ``layers.base.__init__``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def files():
    return sorted(path for kind in ("py", "pyx", "pxd", "hpp", "cpp", "h", "pxi") for path in ROOT.rglob(f"*.{kind}"))


MODULES = {python_name(path): path for path in files() if path.suffix in (".py", ".pyx", ".pxd")}
SOURCES = {path.name: path for path in files() if path.suffix in (".hpp", ".cpp", ".h", ".pxi")}
GENERATED = {f"{Path(name.rpartition('.')[2])}.cpp" for name, path in MODULES.items() if path.suffix == ".pyx"}


def module_named(dotted):
    """The module of ours that ``cyrnn.layers.base.nest`` names, or None."""
    first, _, rest = dotted.partition(".")
    name = rest or "__init__"
    return next((found for found in (name, f"{name}.__init__") if first == "cyrnn" and found in MODULES), None)


def nodes_of(path):
    """All nodes of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def imported_by_python(path):
    nodes = nodes_of(path)
    prose = {node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if module_named(inner) else node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.value if re.fullmatch(r"cyrnn(\.\w+)+", node.value) else ""


def imported_by_cython(path):
    code = re.sub(r'(?s:""".*?""")|#.*', "", path.read_text())
    for where, names in re.findall(r"^\s*from ([\w.]+) c?import (.+)", code, re.MULTILINE):
        for name in re.findall(r"\w+", names) or [""]:
            inner = f"{where}.{name}"
            yield inner if module_named(inner) else where
    yield from re.findall(r"^\s*c?import ([\w.]+)", code, re.MULTILINE)


def included(path):
    pattern = r'^#include "([\w./]+)"|^cdef extern from "([\w./]+)"|^include "([\w./]+)"'
    return re.findall(pattern, path.read_text(), re.MULTILINE)


def found_arrows():
    for path in files():
        if path.name in GENERATED:
            continue
        ours = python_name(path) if path.suffix in (".py", ".pyx", ".pxd") else path.name
        if path.suffix in (".py", ".pyx", ".pxd"):
            found = imported_by_python(path) if path.suffix == ".py" else imported_by_cython(path)
            for target in map(module_named, found):
                if target is not None and target != ours:
                    yield ours, target
        for names in included(path):
            name = Path(next(filter(None, names))).name
            if name in SOURCES and name != ours:
                yield ours, name


@functools.cache
def arrows():
    """All (from, to): names of modules, or of C and C++ files."""
    return sorted(set(found_arrows()))


def room_of(name):
    """The room of a module, or of a C or C++ file."""
    if name in SOURCES:
        name = ".".join(SOURCES[name].relative_to(ROOT).parts[:-1])
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in FLOOR:
            return ".".join(parts[:length])
    return None


def test_every_module_has_its_room():
    assert [name for name in MODULES if room_of(name) is None] == []
    rooms = {room_of(name) for name in MODULES} | {room_of(name) for name in SOURCES}
    assert rooms == set(FLOOR)


def test_the_arrows_are_seen():
    """A guard of this file: each way of importing that there is in the house is among the arrows."""
    assert len(arrows()) > 300
    python = [
        ("layers.base.layer", "layers.base.calling"),
        ("saving.__init__", "saving.c.export"),  # named by a string
    ]
    compiled = [  # whose sources are in a checkout, and not in an installed package
        ("engine.plan", "engine.contract"),
        ("engine.plan", "engine.engine_blas"),  # inside a function
        ("recurrence.hpp", "timestep.hpp"),
        ("engine.contract", "contract.hpp"),
    ]
    for arrow in python + (compiled if "engine.plan" in MODULES else []):
        assert arrow in arrows()


def test_imports_go_down_only():
    up = [
        f"{ours} imports {theirs}"
        for ours, theirs in arrows()
        if room_of(ours) != room_of(theirs) and FLOOR[room_of(ours)] <= FLOOR[room_of(theirs)]
    ]
    assert up == []


def test_no_module_imports_the_bridges():
    assert [ours for ours, theirs in arrows() if theirs in ("torch", "jax")] == []


def test_no_circles():
    graph = {}
    for ours, theirs in arrows():
        graph.setdefault(ours, set()).add(theirs)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_no_class_is_changed_from_another_module():
    """No arrow is hidden by setting attributes of what was imported."""
    for path in MODULES.values():
        if path.suffix != ".py":
            continue
        nodes = nodes_of(path)
        foreign = {
            alias.asname or alias.name
            for node in nodes
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cyrnn")
            for alias in node.names
            if alias.name[:1].isupper()
        }
        targets = [t for node in nodes if isinstance(node, ast.Assign) for t in node.targets]
        changed = [t.value for t in targets if isinstance(t, ast.Attribute)]
        changed += [
            node.args[0]
            for node in nodes
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr"
        ]
        names = {node.id for node in changed if isinstance(node, ast.Name)}
        assert not names & foreign, f"{python_name(path)} changes {names & foreign}"


def test_what_a_function_needs_of_a_layer_is_typed():
    """No circle is hidden by `Any`: a function that works on a layer, model or RNN says which protocol it needs."""
    untyped = []
    for name, path in MODULES.items():
        if path.suffix == ".py" and name.startswith(("layers", "models")):
            for node in nodes_of(path):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    untyped += [
                        f"{name}.{node.name}({argument.arg}: Any)"
                        for argument in (*node.args.args, *node.args.kwonlyargs)
                        if argument.arg in ("self", "layer", "model", "rnn", "stepper")
                        and isinstance(argument.annotation, ast.Name)
                        and argument.annotation.id == "Any"
                    ]
    assert untyped == []


def test_files_and_folders_have_the_size_of_a_screen():
    for path in files():
        if path.name not in GENERATED:
            assert len(path.read_text().splitlines()) <= MOST_LINES, path
    for folder in {path.parent for path in files()} - {ROOT / "engine"}:
        assert len([path for path in files() if path.parent == folder]) <= MOST_FILES, folder


def test_all_packages_are_packed():
    """`pyproject.toml` names them: what it does not name is in a checkout, and not in a wheel."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    named = tomllib.loads(project.read_text())["tool"]["setuptools"]["packages"]
    root = project.parent if (project.parent / "cyrnn" / "__init__.py").exists() else ROOT.parent
    found = {".".join(path.parent.relative_to(root).parts) for path in (root / "cyrnn").rglob("*.py")}
    assert found <= set(named)


def test_layers_know_no_pointers_and_the_engine_no_options():
    for name, path in MODULES.items():
        text = path.read_text()
        if name.startswith("layers"):
            assert "ctypes" not in text and "cython" not in text.lower(), path
        if name.startswith("engine") and path.suffix == ".pyx":
            assert "return_sequences" not in text and "stateful" not in text, path


def imported_by(code):
    return set(run_python(f"import sys; {code}; print(*sys.modules)").stdout.split())


def test_nothing_is_imported_before_it_is_needed():
    imported = imported_by("import cyrnn, cyrnn.cli")
    names_only = {"cyrnn.layers", "cyrnn.models", "cyrnn.saving"}
    assert "numpy" not in imported
    assert {name for name in imported if name.startswith("cyrnn.")} == names_only | {
        *("cyrnn._version", "cyrnn.notices.classes", "cyrnn.notices", "cyrnn.notices.names"),
        *("cyrnn.cli", "cyrnn.cli.errors", "cyrnn.cli.text", "cyrnn.engine"),
    }


def test_nothing_heavy_is_imported_before_it_is_needed():
    heavy = "scipy h5py tqdm ml_dtypes onnx torch jax"
    of_files = "json zipfile shutil secrets hashlib tempfile pathlib random cyrnn.saving.registry"
    of_descriptions = "textwrap cyrnn.models.summary cyrnn.models.functional_config cyrnn.models.serialization"
    of_layers = set(cyrnn.layers._NAMES) - {"cyrnn.layers.base.layer", "cyrnn.layers.around.core"}  # those of any model
    imported = imported_by("import cyrnn; cyrnn.Sequential") - imported_by("import numpy")
    assert {"cyrnn.layers.base.layer", "cyrnn.models.sequential"} <= imported  # a guard of this test
    assert imported & {*heavy.split(), *of_files.split(), *of_descriptions.split(), *of_layers} == set()


def test_the_configuration_is_shown_without_layers():
    imported = imported_by("from cyrnn import cli; cli.main(['config'])")
    assert "cyrnn.config" in imported
    assert not [name for name in imported if name.startswith(("cyrnn.layers.", "cyrnn.models."))]


def test_all_locks_are_such_as_a_forked_child_finds_free():
    for name, path in MODULES.items():
        if path.suffix == ".py" and name != "locks":
            calls = [node.func for node in nodes_of(path) if isinstance(node, ast.Call)]
            made = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
            assert not made & {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier"}, path

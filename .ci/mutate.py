"""Plants small bugs, one at a time, in the engine and in the readers of files, and prints those that no test notices.

    python .ci/mutate.py engine 60           sixty bugs in the engine's headers
    python .ci/mutate.py readers 60 --seed 7 sixty others in what reads files
    python .ci/mutate.py engine 20 --only tiles.hpp --with "nice -n 10"

It works on a copy of a checkout in which the modules are built in place (``python setup.py build_ext --inplace``). Each
bug is another comparison, sign, constant, order or condition. In the engine the one module with that header is compiled
anew, with -O1; bugs that do not compile are passed over. Then the tests that know the file best run, until one fails,
and then others that use it. A bug that no test notices is either one that changes no result, or a test is missing.
"""

import argparse
import random
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy

ROOT = Path(__file__).parents[1]
SECONDS = 400  # of the tests; a bug that makes them take longer is noticed
PRODUCTS = "lanes cell_gradients vjp recurrence activations"
PROGRAMS = (
    "engine_programs engine_ops gradient_ops masks hidden_states layers lengths vjp_every_layer vjp_moves predict"
)
STEPS = "stepper model_steps model_stepper model_c"
TRAINING = "training_step optimizers losses fit lengths_training"
FILES = "corpus hostile_files hdf5_chunks formats files training_files gated_files saving keras_golden transfer"
# For bugs that those do not notice, in the engine and in what reads files.
MORE = {
    "engine": "layers stacks shared_rows predict_programs random_models vjp vjp_cells vjp_layers vjp_models threads "
    f"training_step precision guard_pages {STEPS}",
    "readers": "legacy_configs functional_golden byte_orders callbacks_files cli_errors cli_convert reasons names "
    "bounds",
}

# What of the engine is compiled for which headers, into which module, and which tests know it best.
UNITS = {
    "tiles lanes cells activations vector_math row_activations tile_sums": ("simd_avx2", "plan", PRODUCTS),
    "ops_batch ops_gradient ops_merge ops_plain ops_pointwise ops_pool ops_recurrent_gradient ops_sums ops_time "
    "ops_weighted recurrence timestep execution layout slice sources builder program rows dropped sizes": (
        "program",
        "program",
        PROGRAMS,
    ),
    "matrix_tiles matrix_parts tile_registers": ("simd_emulated", "plan", "matrix_tiles precision"),
    "vector_tiles": ("simd_avx2", "plan", "precision"),
    "shared_row": ("program", "program", "shared_rows"),
    "steps runner frame arguments": ("capi", "runner", STEPS),
    "updates losses packing": ("training", "training", TRAINING),
}
OTHERS = {  # objects that the module is linked with too
    "plan": "plan simd simd_generic simd_avx2 simd_avx512 simd_avx512_bf16 simd_amx simd_emulated rounding",
    "program": "program pool crew", "runner": "runner capi", "training": "training",
}  # fmt: skip
READERS = [
    *("hdf5", "hdf5_chunks", "hdf5_messages", "name_lists", "weights_h5", "legacy_h5", "archive"),
    *("../safetensors", "../npz", "../zipped", "../json_text", "../named_arrays"),
]
SWAPS = [(" < ", " <= "), (" > ", " >= "), (" == ", " != "), (" + ", " - "), (" * ", " + ")]
CPLUSPLUS = [*SWAPS, (" && ", " || "), ("std::min", "std::max"), ("true", "false"), ("++", "--"), (" += ", " -= ")]
PYTHON = [
    *SWAPS,
    (" and ", " or "),
    ("min(", "max("),
    ("True", "False"),
    (" is None", " is not None"),
    (" in ", " not in "),
]


@dataclass
class Bug:
    """Another line in a file, counted from 0. `following` is the next one, where the two change places."""

    path: Path
    number: int
    line: str
    following: str | None = None

    def plant(self, copy: Path) -> None:
        lines = (ROOT / self.path).read_text().splitlines(keepends=True)
        lines[self.number] = self.line
        if self.following is not None:
            lines[self.number + 1] = self.following
        (copy / self.path).write_text("".join(lines))

    def mend(self, copy: Path) -> None:
        shutil.copy(ROOT / self.path, copy / self.path)

    def __str__(self) -> str:
        was = (ROOT / self.path).read_text().splitlines()[self.number].strip()
        now = "with the next line before it" if self.following is not None else self.line.strip()
        return f"{self.path}:{self.number + 1}\n    was {was}\n    now {now}"


def code_of(line: str, mark: str) -> str:
    """The line up to its comment; empty where there is no code to change.

    There is none in messages; in how many bytes are allowed, of which a few more or less change no result; and in zips
    of what is equally long.
    """
    code = line.split(mark)[0] if not re.search(rf"[\"'].*{mark}.*[\"']", line) else line
    nothing = (
        r"\s*(#|//|\*|/\*|template|static_assert|import |from |assert |raise |def |class |@|\"\"\"|[A-Z].*\.$|\w*Error)"
    )
    limit = r"<< 20|_left < 0|\.keep\(|^_(LARGEST|MOST|NODE)|constexpr std::ptrdiff_t (ahead|cached|often) = "
    if re.match(nothing, code) or re.search(limit, code) or not re.search(r"[=(<>]|return|if", code):
        return ""
    return re.sub(r", strict=(True|False)", lambda found: " " * len(found[0]), code)


def bugs_of(path: Path) -> Iterator[Bug]:
    python = path.suffix == ".py"
    text = (ROOT / path).read_text()
    lines = text.splitlines(keepends=True)
    prose = set()  # lines of docstrings and messages
    for found in re.finditer(r'""".*?"""' if python else r"/\*.*?\*/", text, re.S):
        first = text.count("\n", 0, found.start())
        prose |= set(range(first, first + found[0].count("\n") + 1))
    for number, line in enumerate(lines):
        code = code_of(line, "#" if python else "//")
        if not code or number in prose:
            continue
        free = re.sub(r"f?\"[^\"]*\"|'[^']*'", lambda found: "\0" * len(found[0]), code)  # without strings
        for one, other in PYTHON if python else CPLUSPLUS:
            for was, becomes in ((one, other), (other, one)):
                for found in re.finditer(re.escape(was), free):
                    if one == "++" and not free[found.end() : found.end() + 1].isidentifier():
                        continue
                    yield Bug(path, number, line[: found.start()] + becomes + line[found.end() :])
        for found in re.finditer(r"(?<![\w.<\"])\d+(?![\w.xX>\"])", free):
            yield Bug(path, number, f"{line[: found.start()]}{int(found[0]) + 1}{line[found.end() :]}")
        following = lines[number + 1] if number + 1 < len(lines) else ""
        simple = r"(\s+)[\w.\[\]>*-]+ [-+*/]?= [^{]*;\n" if not python else r"(\s+)[\w.\[\]]+ [-+*/]?= [^({\[]*\n"
        one, other = re.fullmatch(simple, line), re.fullmatch(simple, following)
        if one and other and one[1] == other[1]:
            yield Bug(path, number, following, line)


def built(copy: Path, prefix: list[str], unit: str, module: str) -> bool:
    """Whether a source compiles, and is linked into its module in the copy."""
    engine, objects = copy / "cyrnn" / "engine", next((copy / "build").glob("temp*")) / "cyrnn" / "engine"
    includes = [
        f"-I{engine}",
        f"-I{engine}/include",
        f"-I{numpy.get_include()}",
        f"-I{sysconfig.get_paths()['include']}",
    ]
    flags = ["-std=c++17", "-O1", "-fexpensive-optimizations", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-w"]
    flags += ["-fvisibility=hidden", "-ffp-contract=off"] if unit == "training" else ["-fvisibility=hidden"]
    compiled = [*prefix, "c++", *flags, *includes, "-c", str(engine / f"{unit}.cpp"), "-o", str(objects / f"{unit}.o")]
    if subprocess.run(compiled, capture_output=True).returncode:
        return False
    target = engine / f"{module}{sysconfig.get_config_var('EXT_SUFFIX')}"
    parts = [str(objects / f"{name}.o") for name in OTHERS[module].split()]
    subprocess.run(["c++", "-shared", *parts, "-o", str(target)], check=True)
    return True


def is_python(path: Path) -> bool:
    try:
        compile(path.read_text(), str(path), "exec")
    except SyntaxError:
        return False
    return True


def noticed(copy: Path, prefix: list[str], tests: str) -> bool:
    files = [f"tests/test_{name}.py" for name in tests.split()]
    limit = ["timeout", str(SECONDS)] if shutil.which("timeout") else []
    command = [*prefix, *limit, sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider", *files]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(copy), "HOME": str(copy), "PYTHONHASHSEED": "0"}
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    return run.returncode != 0


def copied(folder: str) -> Path:
    copy = Path(folder) / "copy"
    unwanted = shutil.ignore_patterns(".git", "*venv*", ".*_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    return copy


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", choices=["engine", "readers"])
    parser.add_argument("count", type=int, help="how many bugs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files with this in their name")
    parser.add_argument("--with", dest="prefix", default="", help="what each build and test is run with")
    options = parser.parse_args()
    units = {}  # of each file
    for names, unit in UNITS.items() if options.where == "engine" else ():
        units.update({Path("cyrnn/engine") / f"{name}.hpp": unit for name in names.split()})
    for name in READERS if options.where == "readers" else ():
        units[(ROOT / "cyrnn/saving/keras" / f"{name}.py").resolve().relative_to(ROOT.resolve())] = ("", "", FILES)
    draw, prefix = random.Random(options.seed), shlex.split(options.prefix)
    choice = [bug for path in sorted(units) if options.only in path.name for bug in bugs_of(path)]
    planted, unnoticed, last = 0, list[Bug](), None
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(folder)
        sample = sorted(draw.sample(choice, min(len(choice), options.count)), key=lambda bug: units[bug.path])
        for unit, module, tests in sorted({units[bug.path] for bug in sample}):
            if (unit and not built(copy, prefix, unit, module)) or noticed(copy, prefix, tests):
                print(f"without a bug these fail: {unit} {tests}")
                return 2
        for bug in sample:
            unit, module, tests = units[bug.path]
            if last and last != (unit, module):
                built(copy, prefix, *last)  # a sound one
            last = unit and (unit, module)
            bug.plant(copy)
            if built(copy, prefix, unit, module) if unit else is_python(copy / bug.path):
                planted += 1
                found = noticed(copy, prefix, tests) or noticed(copy, prefix, MORE[options.where])
                unnoticed += [] if found else [bug]
                print(f"{planted} {'noticed' if found else 'NOT NOTICED'}: {bug}", flush=True)
            bug.mend(copy)
    print(f"{planted - len(unnoticed)} of {planted} bugs are noticed of {len(choice)} possible ones")
    return 1 if unnoticed else 0


sys.exit(main())

"""Build the compiled modules; everything else is in pyproject.toml."""

import os
import shutil
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import OptionError, PlatformError

# The compiler directives of all modules. Source files set none.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
    "auto_pickle": False,  # what can be pickled says how
}

# Floating point sets no errno and raises no traps, so that selects can be vectorised. No other rule is relaxed.
CXX_FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
# Cython writes much of the modules that call the tiles. Without larger functions in line they are a tenth smaller,
# and as fast.
GCC = sys.platform.startswith("linux") and "clang" not in os.environ.get("CXX", os.environ.get("CC", ""))
SMALLER = ["-finline-limit=60"] if GCC else []
WARNINGS = ["-Wall", "-Wextra", "-Wshadow"]
if os.environ.get("CYRNN_SANITIZE"):  # for example address,undefined; a finding ends the process
    LINK_FLAGS = [f"-fsanitize={os.environ['CYRNN_SANITIZE']}", "-fno-sanitize-recover=all"]
    # -fexpensive-optimizations fuses products and sums: without it rounding errors are larger than in a release.
    COMPILE_FLAGS = [*LINK_FLAGS, "-O1", "-fexpensive-optimizations", "-g", "-fno-omit-frame-pointer"]
elif os.environ.get("CYRNN_COVERAGE"):  # which lines are run is counted beside the object files
    COUNTED = ["--coverage", "-fprofile-update=atomic"]  # threads count the same lines
    COMPILE_FLAGS, LINK_FLAGS = [*COUNTED, "-O1", "-fexpensive-optimizations", "-g"], ["--coverage"]
else:  # stripped; on Windows the C++ runtime is linked in, because Windows does not have it
    STRIPPED = {"darwin": ["-Wl,-x"], "win32": ["-s", "-static"]}
    COMPILE_FLAGS, LINK_FLAGS = ["-g0"], STRIPPED.get(sys.platform, ["-Wl,--strip-all"])
MACROS = [("MS_WIN64", "")] if sys.platform == "win32" else []  # older Python headers define it for MSVC only


class BuildExtensions(build_ext):
    """Before compiling, look for the compiler: without one, say in a sentence what helps.

    On Windows, compile with Clang: MSVC has no vector types, and GCC does not align the stack for them.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        if sys.platform == "win32":
            if self.compiler not in (None, "mingw32"):
                raise OptionError(f"cyrnn is compiled by Clang, such as llvm-mingw's: mingw32, not {self.compiler}")
            self.compiler = "mingw32"
            os.environ.setdefault("CC", "clang")
            os.environ.setdefault("CXX", "clang++")

    def build_extensions(self) -> None:
        compiler = self.compiler.compiler_so_cxx[0]
        if shutil.which(compiler) is None:
            raise PlatformError(
                f"cyrnn needs a C++17 compiler, and {compiler!r} is not here. Install one (apt-get install g++, dnf "
                "install gcc-c++, apk add g++, xcode-select --install, or llvm-mingw on Windows), or name it in CXX"
            )
        super().build_extensions()


def extension(name: str, *sources: str, flags: list[str] = SMALLER) -> Extension:
    path = f"cyrnn/engine/{name}.pyx"
    return Extension(
        f"cyrnn.engine.{name}",
        [path, *(f"cyrnn/engine/{source}" for source in sources)],
        include_dirs=["cyrnn/engine", "cyrnn/engine/include", numpy.get_include()],
        depends=[str(path) for kind in ("hpp", "h", "pxi") for path in sorted(Path("cyrnn/engine").rglob(f"*.{kind}"))],
        language="c++",
        define_macros=MACROS,
        extra_compile_args=CXX_FLAGS + flags + WARNINGS + COMPILE_FLAGS,
        extra_link_args=LINK_FLAGS,
    )


# What takes the time, compiled for each instruction set in a file of its own.
VECTORISED = ("simd.cpp", "simd_generic.cpp", "simd_avx2.cpp", "simd_avx512.cpp", "simd_avx512_bf16.cpp",
              "simd_amx.cpp", "simd_emulated.cpp",
              "rounding.cpp")  # fmt: skip

setup(
    ext_modules=cythonize(
        [
            extension("plan", *VECTORISED, flags=[]),
            extension("program", "pool.cpp", "crew.cpp"),
            extension("runner", "capi.cpp"),
            extension("training", flags=[*SMALLER, "-ffp-contract=off"]),  # the bits of NumPy's rules
            extension("engine_blas"),
        ],
        compiler_directives=DIRECTIVES,
    ),
    cmdclass={"build_ext": BuildExtensions},
)

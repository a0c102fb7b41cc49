"""Build the compiled modules; everything else is in pyproject.toml."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# The compiler directives of every module. None is set in a source file.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}

# No errno and no traps from floating point, so that selects can be vectorised; nothing more is loosened.
CXX_FLAGS = ["-std=c++17", "-O3", "-Wall", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
if os.environ.get("CYRNN_SANITIZE"):  # e.g. CYRNN_SANITIZE=address,undefined
    sanitize = [f"-fsanitize={os.environ['CYRNN_SANITIZE']}", "-g", "-fno-omit-frame-pointer"]
elif sys.platform == "darwin":
    sanitize = ["-g0", "-Wl,-x"]
else:
    sanitize = ["-g0", "-Wl,--strip-all"]


def extension(name: str, *sources: str) -> Extension:
    path = f"cyrnn/engine/{name}.pyx"
    return Extension(
        f"cyrnn.engine.{name}",
        [path, *(f"cyrnn/engine/{source}" for source in sources)],
        include_dirs=["cyrnn/engine", "cyrnn/capi"],
        depends=[str(header) for kind in ("hpp", "h", "pxi") for header in sorted(Path("cyrnn").glob(f"*/*.{kind}"))],
        language="c++",
        extra_compile_args=CXX_FLAGS + sanitize,
        extra_link_args=sanitize,
    )


setup(
    ext_modules=cythonize(
        [
            extension("plan", "pool.cpp", "simd.cpp", "simd_generic.cpp", "simd_avx2.cpp", "simd_avx512.cpp"),
            extension("runner", "capi.cpp"),
            extension("engine_blas"),
        ],
        compiler_directives=DIRECTIVES,
    )
)

"""Check a wheel: it holds each Python module of the checkout, the other promised files, and nothing more; it is not too
large; its compiled modules are stripped."""

import re
import sys
import zipfile
from pathlib import Path

SOURCES = Path(__file__).parents[1]
PROMISED = {path.relative_to(SOURCES).as_posix() for path in SOURCES.glob("cyrnn/**/*.py")} | {
    "cyrnn/__init__.pxd", "cyrnn/capi/__init__.pxd", "cyrnn/engine/capi.pxd", "cyrnn/engine/include/cyrnn.h",
    "cyrnn/py.typed",
    "cyrnn/data/LICENSE-digits.md", "cyrnn/data/digits.keras", "cyrnn/data/digits.npz",
    *(f"cyrnn/engine/{name}.{kind}" for kind in ("pyi", "so")
      for name in ("engine_blas", "plan", "program", "runner", "training")),
}  # fmt: skip
LARGEST = {".so": 1_310_000, "": 800_000}  # bytes in the wheel: compiled modules; all else but the demo's data

with zipfile.ZipFile(sys.argv[1]) as wheel:
    infos = [info for info in wheel.infolist() if ".dist-info/" not in info.filename]
    names = {re.sub(r"\.(cpython|cp\d)[^/]*\.(so|pyd)$", ".so", info.filename) for info in infos}
    modules = {info.filename: wheel.read(info) for info in infos if info.filename.endswith((".so", ".pyd"))}
    sizes = dict.fromkeys(LARGEST, 0)
    for info in infos:
        if not info.filename.startswith("cyrnn/data/"):
            sizes[".so" if info.filename in modules else ""] += info.compress_size

for name in sorted(names):
    print(f"  {name}")
if names != PROMISED:
    sys.exit(f"missing: {sorted(PROMISED - names)}; not promised: {sorted(names - PROMISED)}")
for kind, size in sizes.items():
    if size > LARGEST[kind]:
        sys.exit(f"the wheel has {size} bytes of {kind or 'Python'} files, more than {LARGEST[kind]}")
for name, module in modules.items():
    if module.startswith(b"\x7fELF") and (b".symtab\0" in module or b".debug_" in module):  # section names
        sys.exit(f"{name} is not stripped")
print(f"{len(names)} files as promised, {sum(sizes.values()):,} bytes without the demo's data")

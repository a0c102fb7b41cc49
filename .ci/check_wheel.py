"""Lists a wheel's files against what is promised, and holds it to its size; its compiled modules are stripped."""

import re
import sys
import zipfile

PROMISED = {
    "cyrnn/__init__.pxd", "cyrnn/__init__.py", "cyrnn/__main__.py", "cyrnn/_version.py",
    "cyrnn/activation_formulas.py", "cyrnn/activations.py", "cyrnn/config.py", "cyrnn/configurable.py",
    "cyrnn/constraints.py", "cyrnn/demo.py", "cyrnn/dtypes.py", "cyrnn/initializers.py", "cyrnn/objects.py",
    "cyrnn/py.typed", "cyrnn/random.py", "cyrnn/regularizers.py", "cyrnn/serialization.py",
    "cyrnn/capi/__init__.pxd", "cyrnn/capi/__init__.py", "cyrnn/capi/cyrnn.h",
    "cyrnn/cli/__init__.py", "cyrnn/cli/convert.py", "cyrnn/cli/csv_files.py", "cyrnn/cli/info.py",
    "cyrnn/cli/inputs.py", "cyrnn/cli/outputs.py", "cyrnn/cli/predict.py", "cyrnn/cli/text.py",
    "cyrnn/data/LICENSE-digits.md", "cyrnn/data/digits.keras", "cyrnn/data/digits.npz",
    "cyrnn/engine/__init__.py", "cyrnn/engine/choice.py", "cyrnn/engine/engine_blas.pyi",
    "cyrnn/engine/engine_blas.so", "cyrnn/engine/panels.py", "cyrnn/engine/plan.pyi", "cyrnn/engine/plan.so",
    "cyrnn/engine/runner.pyi", "cyrnn/engine/runner.so", "cyrnn/engine/threads.py",
    "cyrnn/layers/__init__.py", "cyrnn/layers/activation_layers.py", "cyrnn/layers/arguments.py",
    "cyrnn/layers/base.py", "cyrnn/layers/batch_normalization.py", "cyrnn/layers/batches.py",
    "cyrnn/layers/arguments_config.py", "cyrnn/layers/feeding.py", "cyrnn/layers/functional.py",
    "cyrnn/layers/functional_config.py", "cyrnn/layers/graph.py", "cyrnn/layers/models.py",
    "cyrnn/layers/operations.py", "cyrnn/layers/running.py", "cyrnn/layers/symbolic.py",
    "cyrnn/layers/bidirectional.py", "cyrnn/layers/carried.py", "cyrnn/layers/cells.py", "cyrnn/layers/core.py",
    "cyrnn/layers/dropout.py", "cyrnn/layers/files.py", "cyrnn/layers/joining.py", "cyrnn/layers/legacy.py",
    "cyrnn/layers/merging.py", "cyrnn/layers/nest.py", "cyrnn/layers/normalization.py", "cyrnn/layers/planned.py",
    "cyrnn/layers/pooling.py", "cyrnn/layers/preprocessing.py", "cyrnn/layers/reshaping.py", "cyrnn/layers/rnn.py",
    "cyrnn/layers/sequential.py", "cyrnn/layers/simple_rnn.py", "cyrnn/layers/simple_rnn_cell.py",
    "cyrnn/layers/stacked_rnn_cells.py", "cyrnn/layers/stages.py", "cyrnn/layers/stepper.py",
    "cyrnn/layers/time_distributed.py", "cyrnn/layers/walk.py", "cyrnn/layers/weights.py",
    "cyrnn/saving/__init__.py", "cyrnn/saving/archive.py", "cyrnn/saving/arrays.py", "cyrnn/saving/atomic.py",
    "cyrnn/saving/c_activations.py", "cyrnn/saving/c_source.py", "cyrnn/saving/c_template.py",
    "cyrnn/saving/contents.py", "cyrnn/saving/errors.py", "cyrnn/saving/export_c.py", "cyrnn/saving/hdf5.py",
    "cyrnn/saving/legacy_h5.py", "cyrnn/saving/model.py", "cyrnn/saving/npz.py", "cyrnn/saving/onnx_activations.py",
    "cyrnn/saving/onnx_checks.py", "cyrnn/saving/onnx_export.py", "cyrnn/saving/onnx_graph.py",
    "cyrnn/saving/onnx_import.py", "cyrnn/saving/onnx_inputs.py", "cyrnn/saving/onnx_layers.py",
    "cyrnn/saving/onnx_nodes.py", "cyrnn/saving/onnx_operations.py", "cyrnn/saving/onnx_parts.py",
    "cyrnn/saving/onnx_recurrent.py", "cyrnn/saving/onnx_rnn_node.py", "cyrnn/saving/onnx_shapes.py",
    "cyrnn/saving/onnx_values.py", "cyrnn/saving/outline.py", "cyrnn/saving/places.py", "cyrnn/saving/safetensors.py",
    "cyrnn/saving/torch.py", "cyrnn/saving/weights.py", "cyrnn/saving/weights_h5.py", "cyrnn/saving/zipped.py",
}  # fmt: skip
LARGEST = 1_000_000  # bytes of the wheel, without the demo's data

with zipfile.ZipFile(sys.argv[1]) as wheel:
    infos = [info for info in wheel.infolist() if ".dist-info/" not in info.filename]
    names = {re.sub(r"\.(cpython|cp\d)[^/]*\.(so|pyd)$", ".so", info.filename) for info in infos}
    modules = {info.filename: wheel.read(info) for info in infos if info.filename.endswith((".so", ".pyd"))}
    size = sum(info.compress_size for info in infos if not info.filename.startswith("cyrnn/data/"))

for name in sorted(names):
    print(f"  {name}")
if names != PROMISED:
    sys.exit(f"missing: {sorted(PROMISED - names)}; not promised: {sorted(names - PROMISED)}")
if size > LARGEST:
    sys.exit(f"the wheel has {size} bytes without the demo's data, more than {LARGEST}")
for name, module in modules.items():
    if module.startswith(b"\x7fELF") and (b".symtab\0" in module or b".debug_" in module):  # names of sections
        sys.exit(f"{name} is not stripped")
print(f"{len(names)} files as promised, {size:,} bytes without the demo's data")

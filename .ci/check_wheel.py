"""Lists a wheel's files against what is promised, and holds it to its size; its compiled modules are stripped."""

import re
import sys
import zipfile

PROMISED = {
    "cyrnn/__init__.pxd", "cyrnn/__init__.py", "cyrnn/__main__.py", "cyrnn/_version.py",
    "cyrnn/activation_formulas.py", "cyrnn/activations.py", "cyrnn/capi/__init__.pxd", "cyrnn/capi/__init__.py",
    "cyrnn/capi/cyrnn.h", "cyrnn/cli/__init__.py", "cyrnn/cli/convert.py", "cyrnn/cli/csv_files.py",
    "cyrnn/cli/info.py", "cyrnn/cli/inputs.py", "cyrnn/cli/outputs.py", "cyrnn/cli/predict.py", "cyrnn/cli/text.py",
    "cyrnn/config.py", "cyrnn/configurable.py", "cyrnn/constraints.py", "cyrnn/data/LICENSE-digits.md",
    "cyrnn/data/digits.keras", "cyrnn/data/digits.npz", "cyrnn/demo.py", "cyrnn/dtypes.py", "cyrnn/engine/__init__.py",
    "cyrnn/engine/choice.py", "cyrnn/engine/engine_blas.pyi", "cyrnn/engine/engine_blas.so", "cyrnn/engine/panels.py",
    "cyrnn/engine/plan.pyi", "cyrnn/engine/plan.so", "cyrnn/engine/runner.pyi", "cyrnn/engine/runner.so",
    "cyrnn/engine/threads.py", "cyrnn/initializers.py", "cyrnn/layers/__init__.py", "cyrnn/layers/around/__init__.py",
    "cyrnn/layers/around/activation_layers.py", "cyrnn/layers/around/batch_normalization.py",
    "cyrnn/layers/around/core.py", "cyrnn/layers/around/dropout.py", "cyrnn/layers/around/joining.py",
    "cyrnn/layers/around/merging.py", "cyrnn/layers/around/normalization.py", "cyrnn/layers/around/pooling.py",
    "cyrnn/layers/around/preprocessing.py", "cyrnn/layers/around/reshaping.py",
    "cyrnn/layers/around/time_distributed.py", "cyrnn/layers/base/__init__.py", "cyrnn/layers/base/arguments.py",
    "cyrnn/layers/base/engine_layer.py", "cyrnn/layers/base/layer.py", "cyrnn/layers/base/legacy_config.py",
    "cyrnn/layers/base/nest.py", "cyrnn/layers/base/operations.py", "cyrnn/layers/base/predict.py",
    "cyrnn/layers/base/symbolic.py", "cyrnn/layers/base/weights.py", "cyrnn/layers/recurrent/__init__.py",
    "cyrnn/layers/recurrent/bidirectional.py", "cyrnn/layers/recurrent/cell_protocol.py",
    "cyrnn/layers/recurrent/python_loop.py", "cyrnn/layers/recurrent/rnn.py", "cyrnn/layers/recurrent/simple_rnn.py",
    "cyrnn/layers/recurrent/simple_rnn_cell.py", "cyrnn/layers/recurrent/stacked_rnn_cells.py",
    "cyrnn/layers/recurrent/states.py", "cyrnn/layers/recurrent/stepper.py", "cyrnn/layers/recurrent/wavefront.py",
    "cyrnn/models/__init__.py", "cyrnn/models/call_config.py", "cyrnn/models/executor.py", "cyrnn/models/files.py",
    "cyrnn/models/functional.py", "cyrnn/models/functional_config.py", "cyrnn/models/graph.py",
    "cyrnn/models/inputs.py", "cyrnn/models/model.py", "cyrnn/models/model_files.py", "cyrnn/models/outline.py",
    "cyrnn/models/sequential.py", "cyrnn/models/serialization.py", "cyrnn/objects.py", "cyrnn/py.typed",
    "cyrnn/random.py", "cyrnn/regularizers.py", "cyrnn/saving/__init__.py", "cyrnn/saving/atomic.py",
    "cyrnn/saving/c/__init__.py", "cyrnn/saving/c/activations.py", "cyrnn/saving/c/export.py",
    "cyrnn/saving/c/source.py", "cyrnn/saving/c/template.py", "cyrnn/saving/contents.py", "cyrnn/saving/errors.py",
    "cyrnn/saving/keras/__init__.py", "cyrnn/saving/keras/archive.py", "cyrnn/saving/keras/hdf5.py",
    "cyrnn/saving/keras/legacy_h5.py", "cyrnn/saving/keras/weights_h5.py", "cyrnn/saving/named_arrays.py",
    "cyrnn/saving/npz.py", "cyrnn/saving/onnx/__init__.py", "cyrnn/saving/onnx/activations.py",
    "cyrnn/saving/onnx/checks.py", "cyrnn/saving/onnx/export.py", "cyrnn/saving/onnx/graph.py",
    "cyrnn/saving/onnx/importer.py", "cyrnn/saving/onnx/inputs.py", "cyrnn/saving/onnx/layers.py",
    "cyrnn/saving/onnx/nodes.py", "cyrnn/saving/onnx/operations.py", "cyrnn/saving/onnx/recurrent.py",
    "cyrnn/saving/onnx/rnn_node.py", "cyrnn/saving/onnx/shapes.py", "cyrnn/saving/onnx/slicing.py",
    "cyrnn/saving/onnx/values.py", "cyrnn/saving/safetensors.py", "cyrnn/saving/torch.py",
    "cyrnn/saving/weight_files.py", "cyrnn/saving/weight_paths.py", "cyrnn/saving/zipped.py",
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

"""Write torch_chains.npz: random modules of ../torch_chains.py as torch's exporter writes them, and what they return.

    pip install torch onnx
    python tests/golden/make_torch_chains.py

It holds for each seed the compressed file `<seed>.onnx`, the input `<seed>.x` and the output `<seed>.y`, as torch has
them, and `<seed>.batch_first`. `tests/test_onnx_chains.py` reads what is written here, and needs no torch.
"""

import sys
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from torch_chains import exported  # noqa: E402

COUNT = 64


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    for seed in range(1000, 1000 + COUNT):
        stored, x, y, batch_first = exported(seed)
        content = np.frombuffer(zlib.compress(stored, 9), np.uint8)
        arrays |= {
            f"{seed}.onnx": content,
            f"{seed}.x": x,
            f"{seed}.y": y,
            f"{seed}.batch_first": np.array(batch_first),
        }
    np.savez_compressed(HERE / "torch_chains.npz", **arrays)


if __name__ == "__main__":
    main()

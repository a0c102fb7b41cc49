"""ONNX files with bytes and fields changed: each is read, or refused by one error, in bounded time and memory.

CYRNN_FUZZ_EXAMPLES=4000 pytest tests/test_fuzz_onnx.py      takes more of these
"""

import os
import random
from pathlib import Path

import pytest
from measured import within
from onnx_by_hand import onnx

from cyrnn.saving import ModelFileError, from_onnx

EXAMPLES = int(os.environ.get("CYRNN_FUZZ_EXAMPLES", "60"))
FILES = sorted((Path(__file__).parent / "golden" / "onnx").glob("*.onnx"))
SECONDS, MEMORY = 5, 16 << 20  # of one file of some kilobytes
INTEGERS = [0, 1, -1, 7, 2**31 - 1, -(2**31)]
TEXTS = ["", "x", "Relu", "RNN", "Concat", "Reshape", "no such"]


def is_read(path):
    with within(SECONDS, MEMORY + 200 * path.stat().st_size):
        try:
            from_onnx(path)
            return True
        except ModelFileError as error:
            assert str(path) in str(error) and len(str(error)) < len(str(path)) + 2000
            return False


def parts_of(message):
    """Each field of a message that has a value, those of messages within it too."""
    for field, value in message.ListFields():
        yield message, field
        if field.type == field.TYPE_MESSAGE:
            for part in value if hasattr(value, "append") else [value]:
                yield from parts_of(part)


def change(message, field, draw):
    """Replace one value, or leave it out, or have it twice."""
    value = getattr(message, field.name)
    if not hasattr(value, "append"):
        if field.type == field.TYPE_MESSAGE or draw.random() < 0.2:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, other(value, field, draw))
        return
    at = draw.randrange(len(value))
    if draw.random() < 0.2:
        del value[at]
    elif draw.random() < 0.3:
        value.extend([value[at]] * draw.choice([1, 1, 300]))
    elif field.type != field.TYPE_MESSAGE:
        value[at] = other(value[at], field, draw)


def other(value, field, draw):
    if field.enum_type:
        return draw.choice(field.enum_type.values).number
    if isinstance(value, str):
        return draw.choice(TEXTS)
    if isinstance(value, bytes):
        return draw.choice([b"", value[:-1], value * 2, b"\xff" * len(value)])
    return draw.choice([float("nan"), float("inf"), -1.0, 1e30] if isinstance(value, float) else INTEGERS)


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")  # numbers that are not finite
def test_fields_are_read_or_refused(tmp_path):
    draw, read, path = random.Random(0), 0, tmp_path / "m.onnx"
    sources = [file.read_bytes() for file in FILES]
    for _ in range(EXAMPLES):
        proto = onnx.ModelProto.FromString(draw.choice(sources))
        for _ in range(draw.randint(1, 3)):
            change(*draw.choice(list(parts_of(proto))), draw)
        path.write_bytes(proto.SerializeToString())
        read += is_read(path)
    assert EXAMPLES // 20 < read < EXAMPLES


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")
def test_bytes_are_read_or_refused(tmp_path):
    draw, refused, path = random.Random(1), 0, tmp_path / "m.onnx"
    sources = [file.read_bytes() for file in FILES]
    for _ in range(EXAMPLES):
        changed = bytearray(draw.choice(sources))
        for _ in range(draw.randint(1, 5)):
            begin = draw.randrange(len(changed))
            changed[begin : begin + draw.choice([0, 1, 1, 8])] = draw.randbytes(draw.choice([0, 1, 1, 8]))
        path.write_bytes(changed)
        refused += not is_read(path)
    assert refused > EXAMPLES // 6

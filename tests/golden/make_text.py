"""Write text.json: what Keras' layers of text and categories return, which compute with TensorFlow.

    pip install keras tensorflow-cpu
    KERAS_BACKEND=tensorflow python tests/golden/make_text.py

`tests/test_text.py` reads it. Each case has the class and the arguments of a layer, what it has adapted to if it has,
what `adapt` found, inputs, and outputs with their dtype.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("text.json")

MODES = ("int", "one_hot", "multi_hot", "count")
WORDS = [["cat", "dog", "the", ""], ["bird", "the", "the", "mat"], ["ÄÖ", "x", "cat", "fish"]]
NUMBERS = [[1, 5, 7, 0], [9, 5, 5, -3], [12, 1, 0, 7]]
TEXTS = ["The cat sat on the mat.", "  A dog!  (a BIG dog) can't\tbark\nloud ", "", "ÄÖ ä café 12,5 % [x]", "語 🙂 the"]

# Prefixes of this text are hashed: FarmHash has a formula for each of up to 3, 7, 16, 32 and 64 bytes, and for more.
LONG = "Pack my box with five dozen liquor jugs; größe & 語: 0123456789 " * 5
LENGTHS = (
    *range(10),
    12,
    15,
    16,
    17,
    24,
    31,
    32,
    33,
    48,
    56,
    57,
    63,
    64,
    65,
    90,
    118,
    119,
    120,
    127,
    128,
    129,
    200,
    300,
)
PREFIXES = [LONG[:length] for length in LENGTHS]
ALL_BINS = 2**63 - 1  # so that nearly all bits of a hash are seen

Case = dict[str, Any]


def cases() -> list[Case]:
    """The layers, what they adapt to, and their inputs."""
    floats = np.random.default_rng(0).standard_normal((60, 3)).round(3).tolist()
    boundaries = {"bin_boundaries": [-1.0, 0.0, 0.1, 2.0]}
    strings = {"vocabulary": ["cat", "the", "mat"]}
    integers = {"vocabulary": [5, 7, 12]}
    weights = {"output_mode": "tf_idf", "idf_weights": [0.5, 1.5, 2.0]}
    return [
        *(case("Hashing", PREFIXES, num_bins=ALL_BINS, salt=salt) for salt in (None, 133, [2**62 + 1, 137])),
        *(case("Hashing", WORDS, num_bins=7, output_mode=mode) for mode in MODES),
        case("Hashing", WORDS, num_bins=7, mask_value=""),
        case("Hashing", NUMBERS, num_bins=7),
        *(case("StringLookup", WORDS, **strings, output_mode=mode) for mode in MODES),
        *(case("StringLookup", WORDS, **strings, output_mode=mode, mask_token="") for mode in MODES[::3]),
        case("StringLookup", WORDS, **strings, num_oov_indices=3),
        case("StringLookup", WORDS, **strings, num_oov_indices=3, oov_method="farmhash", salt=[7, 9]),
        case("StringLookup", WORDS, **strings, max_tokens=9, pad_to_max_tokens=True, output_mode="multi_hot"),
        case("StringLookup", WORDS, **strings, **weights),
        case("StringLookup", WORDS, **strings, **weights, max_tokens=7, pad_to_max_tokens=True),
        case("StringLookup", [[0, 1, 2], [3, 4, 99]], **strings, invert=True, mask_token=""),
        case("StringLookup", WORDS, WORDS, output_mode="tf_idf"),
        case("StringLookup", WORDS, WORDS, max_tokens=4),
        *(case("IntegerLookup", NUMBERS, **integers, output_mode=mode) for mode in MODES),
        case("IntegerLookup", NUMBERS, **integers, num_oov_indices=3),
        case("IntegerLookup", NUMBERS, **integers, num_oov_indices=3, oov_method="farmhash"),
        case("IntegerLookup", NUMBERS, **integers, mask_token=0, output_mode="multi_hot"),
        case("IntegerLookup", [[0, 1, 2], [3, 4, 99]], **integers, invert=True),
        case("IntegerLookup", NUMBERS, NUMBERS),
        *(case("CategoryEncoding", [[0, 1, 1], [3, 2, 0]], num_tokens=4, output_mode=mode) for mode in MODES[1:]),
        case("CategoryEncoding", [[0], [2]], num_tokens=4, output_mode="one_hot"),
        *(case("Discretization", floats[:4], **boundaries, output_mode=mode) for mode in MODES),
        case("Discretization", floats[:4], floats, num_bins=4),
        case("Discretization", floats[:4], floats, num_bins=3, epsilon=0.2),
        case("Discretization", floats[:4], [0.0, 1.0, 2.0], num_bins=5),  # fewer numbers than bins
        *(
            case("TextVectorization", TEXTS, TEXTS, output_mode=mode)
            for mode in ("int", "multi_hot", "count", "tf_idf")
        ),
        *(case("TextVectorization", TEXTS, TEXTS, standardize=how) for how in (None, "lower", "strip_punctuation")),
        case("TextVectorization", TEXTS, TEXTS, split="character", ngrams=2),
        case("TextVectorization", TEXTS, TEXTS, ngrams=[1, 3], output_mode="count"),
        *(case("TextVectorization", TEXTS, TEXTS, output_sequence_length=length) for length in (3, 12)),
        *(
            case("TextVectorization", WORDS, split=None, vocabulary=["cat", "the"], output_mode=mode)
            for mode in ("int", "multi_hot")
        ),
        case("TextVectorization", WORDS, split=None, vocabulary=["cat", "the"], output_sequence_length=3),
        case("TextVectorization", WORDS, WORDS, split=None, ngrams=2),
    ]


def case(name: str, inputs: Any, adapted_to: Any = None, **options: Any) -> Case:
    """A case without what Keras makes of it."""
    return {"layer": name, "options": options, "adapted_to": adapted_to, "inputs": inputs}


def with_outputs(given: Case) -> Case:
    """The case with what Keras makes of it."""
    import keras

    options = {
        name: tuple(value) if name == "ngrams" and isinstance(value, list) else value
        for name, value in given["options"].items()
    }
    layer = getattr(keras.layers, given["layer"])(**options)
    found = None
    if given["adapted_to"] is not None:
        layer.adapt(np.array(given["adapted_to"]))
        found = layer.bin_boundaries if given["layer"] == "Discretization" else layer.get_vocabulary()
    outputs = np.asarray(layer(np.array(given["inputs"])))
    values = (
        outputs.tolist() if outputs.dtype != object else np.vectorize(bytes.decode, otypes=[object])(outputs).tolist()
    )
    return {**given, "found": None if found is None else list(found), "dtype": str(outputs.dtype), "outputs": values}


def main() -> None:
    """Write the file."""
    import keras
    import tensorflow

    versions = f"keras {keras.__version__}, tensorflow {tensorflow.__version__}"
    made = {"versions": versions, "cases": [with_outputs(given) for given in cases()]}
    FILE.write_text(json.dumps(made, ensure_ascii=False, separators=(",", ":"), default=float) + "\n", "utf-8")


if __name__ == "__main__":
    main()

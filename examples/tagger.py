"""A tagger: what each character of a Python source is, a name, a number, text, an operator or space.

The data are modules of Python's standard library, tagged by its tokenizer. A bidirectional GRU returns a class for each
character; the module `textwrap` is held out.
"""

import argparse
import io
import json.decoder
import random
import statistics
import textwrap
import tokenize
from pathlib import Path

import numpy as np

import cyrnn as keras

TAGS = ["space", "name", "number", "text", "operator"]
KINDS = {tokenize.NAME: 1, tokenize.NUMBER: 2, tokenize.STRING: 3, tokenize.COMMENT: 3, tokenize.OP: 4}
LENGTH = 80


def tagged(module):
    """Characters of a module as tokens below 128, and the tag of each, both (rows, LENGTH)."""
    source = Path(module.__file__).read_text(encoding="ascii", errors="replace").replace("\ufffd", "?")
    lines = source.splitlines(keepends=True)
    begins = np.cumsum([0, *map(len, lines)])
    tags = np.zeros(len(source), np.int64)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        first, last = (begins[row - 1] + column for row, column in (token.start, token.end))
        tags[first:last] = KINDS.get(token.type, 0)
    characters = np.frombuffer(source.encode("ascii", "replace"), np.uint8).astype(np.int64)
    rows = len(source) // LENGTH * LENGTH
    return characters[:rows].reshape(-1, LENGTH), tags[:rows].reshape(-1, LENGTH)


parts = [tagged(module) for module in (argparse, json.decoder, random, statistics, tokenize)]
x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
x_test, y_test = tagged(textwrap)

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.layers.Embedding(128, 16),
        keras.layers.Bidirectional(keras.layers.GRU(24, return_sequences=True)),
        keras.layers.Dense(len(TAGS), activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=32, epochs=6, verbose=0)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"{accuracy:.1%} of {x_test.size:,} characters of a module that it has never seen are right")
shown = x_test[np.argmax([len(set(row)) * (10 in x) for x, row in zip(x_test, y_test, strict=True)])]
print("  " + "".join(map(chr, shown)).replace("\n", " "))
print("  " + "".join(TAGS[tag][0] for tag in model.predict(shown[None], verbose=0)[0].argmax(axis=1)))
assert accuracy > 0.85

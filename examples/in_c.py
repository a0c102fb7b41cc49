"""A model as one C file, without Python: export, compile, run, compare, and measure.

It needs a C compiler (`cc`, or what `CC` says).
"""

import os
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

import numpy as np

import cyrnn

MAIN = r"""
#include <stdio.h>
#include <time.h>
#define DIGITS_DECLARATIONS_ONLY
#include "digits.c"

int main(int argc, char **argv)
{
    static float images[360][8 * DIGITS_FEATURES], output[DIGITS_UNITS];
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (argc != 3 || !in || !out || fread(images, sizeof images, 1, in) != 1) return 1;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < 360; ++i) {
        digits_state state;
        digits_init(&state);
        digits_forward(&state, images[i], 8, NULL);
        digits_output(&state, output);
        if (fwrite(output, sizeof output, 1, out) != 1) return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.2f\n", ((end.tv_sec - begin.tv_sec) * 1e6 + (end.tv_nsec - begin.tv_nsec) / 1e3) / 360);
    return fclose(out);
}
"""

folder = resources.files("cyrnn") / "data"
model = cyrnn.saving.load_model(folder / "digits.keras")
digits = np.load(folder / "digits.npz")
images = digits["x"].astype(np.float32) / 16

with tempfile.TemporaryDirectory() as name:
    here = Path(name)
    cyrnn.saving.export_c(model, here / "digits.c")
    (here / "main.c").write_text(MAIN)
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O3", "main.c", "digits.c", "-lm", "-o", "main"], cwd=here, check=True)
    images.tofile(here / "images")
    took = subprocess.run(["./main", "images", "outputs"], cwd=here, check=True, capture_output=True, text=True).stdout
    outputs = np.fromfile(here / "outputs", np.float32).reshape(len(images), -1)
    size = (here / "digits.c").stat().st_size

difference = np.abs(outputs - model.predict(images, verbose=0)).max()
print(f"{(outputs.argmax(axis=1) == digits['y']).mean():.1%} of the digits are right, in C")
print(f"the largest difference to Python is {difference:.1e}, and {size:,} bytes of C take {float(took)} us an image")
assert difference < 1e-5

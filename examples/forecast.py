"""Forecast a series: the next sample of a brain wave, with the training curve.

The electroencephalogram comes with Matplotlib: four electrodes, 800 samples. An LSTM sees 40 samples of all
electrodes and predicts the next one; the last fifth of the recording is held out. `--plot FILE` draws the curve.
"""

import argparse

import matplotlib.cbook
import numpy as np

import cyrnn as keras

parser = argparse.ArgumentParser()
parser.add_argument("--plot", help="where the training curve is drawn")
options = parser.parse_args()

WINDOW = 40
with matplotlib.cbook.get_sample_data("eeg.dat") as file:
    recording = np.frombuffer(file.read(), float).reshape(-1, 4)
scaled = ((recording - recording.mean(axis=0)) / recording.std(axis=0)).astype(np.float32)

windows = np.lib.stride_tricks.sliding_window_view(scaled, WINDOW, axis=0).transpose(0, 2, 1)[:-1]
following = scaled[WINDOW:]
held_out = len(windows) // 5
x, y = windows[:-held_out], following[:-held_out]
x_late, y_late = windows[-held_out:], following[-held_out:]

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((WINDOW, 4)), keras.layers.LSTM(32), keras.layers.Dense(4)])
model.compile(keras.optimizers.Adam(0.003), "mse")
stop = keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True)
history = model.fit(x, y, batch_size=16, epochs=60, validation_data=(x_late, y_late), callbacks=[stop], verbose=0)

error = float(np.mean((model.predict(x_late, verbose=0) - y_late) ** 2))
repeated = float(np.mean((x_late[:, -1] - y_late) ** 2))
print(f"mean squared error of the forecast: {error:.3f}; of repeating the last sample: {repeated:.3f}")
assert error < repeated

if options.plot:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(history.history["loss"], label="training")
    axes.plot(history.history["val_loss"], "--", label="held out")
    axes.axhline(repeated, color="black", linestyle=":", label="repeating the last sample")
    axes.set(xlabel="epoch", ylabel="mean squared error", yscale="log")
    axes.legend()
    figure.savefig(options.plot, dpi=150)

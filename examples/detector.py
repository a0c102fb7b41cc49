"""A detector on a stream of sound, in real time: it says while it listens whether a siren is on.

The sound is a NumPy array: noise, hum, and now and then a siren that goes up and down. It is cut into frames of 8 ms,
whose loudness in 16 bands is a timestep. The model is trained on whole sequences; then a stepper hears a new
recording frame by frame, as a microphone would deliver it.
"""

import time

import numpy as np

import cyrnn as keras

RATE, FRAME, BANDS = 8000, 64, 16
rng = np.random.default_rng(0)


def recording(seconds):
    """Sound, and for each frame whether the siren is on."""
    t = np.arange(int(seconds * RATE)) / RATE
    on = np.zeros(len(t), bool)
    for _ in range(max(1, int(seconds / 4))):
        begin = rng.integers(0, len(t) - RATE)
        on[begin : begin + rng.integers(RATE // 2, 2 * RATE)] = True
    pitch = 700 + 250 * np.sin(2 * np.pi * 1.5 * t)
    siren = 0.25 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
    hum = 0.3 * np.sin(2 * np.pi * (150 + 20 * rng.random()) * t)
    return siren * on + hum + 0.15 * rng.standard_normal(len(t)), on[::FRAME]


WINDOW = np.hanning(FRAME)


def features(frames):
    """Frames (frames, FRAME) -> loudness of bands (frames, BANDS)."""
    power = np.abs(np.fft.rfft(frames * WINDOW, axis=1)[:, 1 : 2 * BANDS + 1]) ** 2
    return np.log(power.reshape(-1, BANDS, 2).sum(axis=2) + 1e-3).astype(np.float32)


pairs = [recording(4) for _ in range(40)]
x = np.stack([features(sound.reshape(-1, FRAME)) for sound, _ in pairs])
y = np.stack([on for _, on in pairs])[..., None]

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None, BANDS)),
        keras.layers.GRU(16, return_sequences=True),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=8, epochs=12, verbose=0)

sound, on = recording(20)
stepper, heard, times = model.stepper(), [], []
for frame in sound.reshape(-1, FRAME):
    start = time.perf_counter()
    heard.append(stepper.step(features(frame[None]))[0, 0] > 0.5)
    times.append(time.perf_counter() - start)

right = np.mean(np.array(heard) == on)
print(f"{right:.1%} of {len(on):,} frames are right")
median = np.median(times) * 1e6
print(f"a frame lasts {FRAME / RATE * 1e6:,.0f} microseconds, and takes {median:.0f}, its spectrum included")
assert right > 0.9

"""An adding machine: characters in, characters out, until 99 % of sums are right.

"47+8" goes in with its digits from right to left, and "55" comes out so too: an encoder reads, its last output is
repeated, and a decoder writes one digit at each timestep.
"""

import numpy as np

import cyrnn as keras

rng = np.random.default_rng(0)
CHARACTERS = "0123456789+ "
one_hot = np.eye(len(CHARACTERS), dtype=np.float32)


def encoded(numbers):
    """Pairs of numbers below 100 -> questions (samples, 5, characters) and answers (samples, 3), both reversed."""
    questions = [f"{a}+{b}".rjust(5)[::-1] for a, b in numbers]
    answers = [str(a + b).rjust(3)[::-1] for a, b in numbers]
    index = [[CHARACTERS.index(character) for character in text] for text in questions]
    return one_hot[np.array(index)], np.array([[CHARACTERS.index(c) for c in text] for text in answers])


pairs = rng.permutation([(a, b) for a in range(100) for b in range(100)])
x, y = encoded(pairs[1000:])
x_new, y_new = encoded(pairs[:1000])

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((5, len(CHARACTERS))),
        keras.layers.LSTM(96),
        keras.layers.RepeatVector(3),
        keras.layers.LSTM(96, return_sequences=True),
        keras.layers.Dense(len(CHARACTERS), activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")


def right(x, y):
    """The share of sums of which each digit is right."""
    return (model.predict(x, verbose=0).argmax(axis=2) == y).all(axis=1).mean()


class UntilItAdds(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = right(x_new, y_new) >= 0.99


history = model.fit(x, y, batch_size=64, epochs=60, callbacks=[UntilItAdds()], verbose=0)
print(f"{right(x_new, y_new):.1%} of 1,000 sums that it has not seen are right, after {len(history.epoch)} epochs")
for a, b in pairs[:3]:
    digits = model.predict(encoded([(a, b)])[0], verbose=0)[0].argmax(axis=1)
    print(f"  {a} + {b} = {''.join(CHARACTERS[digit] for digit in digits)[::-1].strip()}")
assert right(x_new, y_new) >= 0.99

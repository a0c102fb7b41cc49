"""Handwritten digits: a GRU reads images row by row.

Each image of 8 x 8 pixels is a sequence of 8 timesteps with 8 features. The data come with scikit-learn.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import cyrnn as keras

images, labels = load_digits(return_X_y=True)
x = (images / 16).reshape(-1, 8, 8).astype(np.float32)
x_train, x_test, y_train, y_test = train_test_split(x, labels, test_size=0.25, random_state=0, stratify=labels)

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.GaussianNoise(0.05),
        keras.layers.Bidirectional(keras.layers.GRU(32)),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.summary()
model.fit(x_train, y_train, batch_size=32, epochs=15, validation_data=(x_test, y_test), verbose=0)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"{accuracy:.1%} of {len(y_test)} held-out digits are right")
assert accuracy > 0.95

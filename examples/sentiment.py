"""Sentiment, with masks: sentences of unequal length, in which "not" turns the meaning round.

A small grammar makes all its sentences, so that nothing is downloaded. A third of them is held out.
"""

from itertools import product

import numpy as np

import cyrnn as keras

GOOD, BAD = ["good", "fine", "lovely", "clever", "moving"], ["bad", "dull", "awful", "clumsy", "boring"]
NOUNS = ["film", "book", "song", "play", "story"]
BEGINS, NEGATIONS, DEGREES, ENDS = ["", "i think "], ["", "not "], ["", "very ", "very very "], ["", " my friends say"]

pairs = [
    (f"{begin}this {noun} is {negation}{degree}{adjective}{end}", (adjective in GOOD) != bool(negation))
    for begin, noun, negation, degree, adjective, end in product(BEGINS, NOUNS, NEGATIONS, DEGREES, GOOD + BAD, ENDS)
]
order = np.random.default_rng(0).permutation(len(pairs))
texts = [pairs[number][0] for number in order]
praise = np.array([pairs[number][1] for number in order])

vocabulary = sorted({word for text in texts for word in text.split()})
token_of = {word: token for token, word in enumerate(vocabulary, start=1)}  # 0 is padding


def tokens(texts):
    return keras.utils.pad_sequences([[token_of[word] for word in text.split()] for text in texts], 12)


keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.layers.Embedding(len(vocabulary) + 1, 16, mask_zero=True),
        keras.layers.LSTM(16),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
x, held_out = tokens(texts), len(texts) // 3
model.fit(x[held_out:], praise[held_out:], epochs=12, verbose=0)
loss, accuracy = model.evaluate(x[:held_out], praise[:held_out], verbose=0)
print(f"{accuracy:.1%} of {held_out} new sentences are right")
for text in ["this film is good", "i think this film is not very good", "this song is not dull"]:
    print(f"  {model.predict(tokens([text]), verbose=0)[0, 0]:.2f}  {text}")
assert accuracy > 0.95

"""The engine: arrays, weights, threads. No Keras option is known here."""

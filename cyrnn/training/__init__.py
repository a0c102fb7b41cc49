"""How models are trained: data in batches, losses and metrics of their outputs, and the loops of `fit`."""

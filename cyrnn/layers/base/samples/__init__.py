"""Data of layers and models: lengths of sequences, sequences of unequal length, what is read by slices, batches."""

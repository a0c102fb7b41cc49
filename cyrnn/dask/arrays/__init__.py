"""Dask arrays as inputs of models: the graph of a lazy result, and what its tasks do."""

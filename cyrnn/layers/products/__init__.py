"""Layers whose sums of products NumPy computes, and their ways back: convolution and attention."""

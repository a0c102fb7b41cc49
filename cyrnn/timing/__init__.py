"""How long calls of models take: each of their layers, and calls one after the other, beside ONNX Runtime."""

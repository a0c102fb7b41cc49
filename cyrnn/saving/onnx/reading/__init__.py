"""What the nodes of an ONNX file are: the axes of each tensor, and the layer of each operator."""

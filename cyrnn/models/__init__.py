"""Models of layers."""

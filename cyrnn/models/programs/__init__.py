"""The calls of a model as programs of the engine, and what Python calls between them: forward, and back."""

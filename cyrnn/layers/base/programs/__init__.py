"""How layers become programs of the engine: the ops of one layer, or of a whole model."""

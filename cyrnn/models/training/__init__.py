"""What a model has once it is compiled."""

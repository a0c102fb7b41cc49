"""Layers that make numbers of text, of categories, and of numbers that are put into bins."""

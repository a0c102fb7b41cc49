"""Cells, recurrent layers, and how they are run."""

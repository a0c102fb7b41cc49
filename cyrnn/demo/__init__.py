"""The demo: handwritten digits, 8x8 pixels, read row by row."""

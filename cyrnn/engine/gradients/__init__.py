"""Back-propagation through programs: how to go back through each op, and the program of gradients that comes of it."""

"""What is wrong with a file."""


class ModelFileError(ValueError):
    """A file that is damaged, hostile, or holds what this package cannot run; the message says which and where."""

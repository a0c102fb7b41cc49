"""Lines that the demos print."""

import cyrnn


def accuracy_line(correct: int, samples: int) -> str:
    """How many of the held-out digits are named right."""
    return f"  accuracy               {correct / samples:.2%} ({correct} of {samples} held-out digits)"


def engine_line() -> str:
    """What computes."""
    config, threads = cyrnn.show_config("dicts"), counted(cyrnn.get_num_threads(), "thread")
    blas = f" ({config['blas']}, {config['blas_core']} kernels)" if config["engine"] == "blas" else ""
    return f"  engine                 {config['engine']}{blas}, {config['instruction_set']}, {threads}"


def counted(count: int, noun: str) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

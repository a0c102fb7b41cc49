"""The command line: ``cyrnn demo | info | predict | convert | config``.

Exit codes: 0 all is well; 1 `info` found something that cannot run here, or `demo` another result than Keras'; 2 a
wrong call, a wrong file, or a machine without the memory, disk or package that is needed; 70 an error in cyrnn itself;
130 Ctrl-C, 141 no reader any more, 143 SIGTERM. An error is one line; with CYRNN_DEBUG=1 in the environment it has its
traceback too.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

import cyrnn
from cyrnn.cli import convert, demo, info, predict
from cyrnn.cli.errors import INTERRUPTED, report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. SIGTERM ends it by SystemExit, so that nothing half written stays."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        with _ended_by_sigterm(), _while_somebody_reads():
            return options.run(options)
    except Exception as error:
        text, code = report(error)
        print(f"cyrnn {options.command}: {text}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        print(f"cyrnn {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED


@contextlib.contextmanager
def _while_somebody_reads() -> Iterator[None]:
    """Within the block, a reader that closes the pipe, as ``head`` does, ends the command without a message."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still in the buffer
        sys.exit(141)  # as a shell has it for SIGPIPE


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Within the block SIGTERM is SystemExit with the code that a shell would show, unless it has a handler already."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cyrnn", description="Keras' recurrent networks on the CPU.")
    parser.add_argument("--version", action="version", version=f"cyrnn {cyrnn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for command in (demo, info, predict, convert):
        command.add_to(commands)

    config = commands.add_parser("config", help="show what this machine and this build use")
    config.set_defaults(run=_config)
    return parser


def _config(options: argparse.Namespace) -> int:
    cyrnn.show_config()
    return 0

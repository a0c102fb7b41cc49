"""The command line: ``cyrnn demo | info | predict | convert | bench | config``.

Exit codes: 0 all is well; 1 `info` found something that cannot run here, or `demo` another result than Keras'; 2 a
wrong call, a wrong file, or a machine without the memory, disk or package that is needed; 70 an error in cyrnn itself;
130 Ctrl-C, 141 no reader any more, 143 SIGTERM. An error is one line; with CYRNN_DEBUG=1 in the environment it has its
traceback too.

Only the module of the command that is run is imported: `cyrnn --version`, `cyrnn --help`, the help of a command, and
the errors that its arguments and the names of its files show, load neither NumPy nor layers.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from cyrnn._version import __version__
from cyrnn.cli.errors import INTERRUPTED, report
from cyrnn.cli.text import columns, examples

_COMMANDS = {  # the module of each, and what it does
    "demo": ("cyrnn.cli.demo", "classify handwritten digits with a bundled model, and time it"),
    "info": ("cyrnn.cli.info", "show what a file of a model or of weights holds"),
    "predict": ("cyrnn.cli.predict", "run a saved model on arrays"),
    "convert": ("cyrnn.cli.convert", "write models to other kinds of files"),
    "bench": ("cyrnn.cli.bench", "measure how long calls of a model take, and each of its layers"),
    "config": ("cyrnn.cli.config", "show what this machine and this build use"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. SIGTERM ends it by SystemExit, so that nothing half written stays."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser(given)
    if not given:
        parser.print_help()
        return 0
    options, unknown = parser.parse_known_args(given)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}{_meant(options.parser, unknown)}")
    try:
        with _ended_by_sigterm(), _while_somebody_reads():
            checks = importlib.import_module("cyrnn.cli.checks")
            getattr(checks, options.command, _nothing)(options)
            code: int = importlib.import_module(_COMMANDS[options.command][0]).run(options)
            return code
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


def _meant(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> str:
    """The end of a message on arguments that a command does not know: which option is meant."""
    from cyrnn.notices.names import suggestion

    option = next((part.partition("=")[0] for part in unknown if part.startswith("-")), None)
    return "" if option is None else suggestion(option, parser._option_string_actions)


def _nothing(options: argparse.Namespace) -> None:
    """The checks of a command that reads no file."""


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of the one that is given."""
    width = columns() - 2  # else argparse imports shutil, with all kinds of archives

    def plain(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, width=width)

    parser = argparse.ArgumentParser(
        prog="cyrnn",
        description="Keras' recurrent networks on the CPU.",
        epilog="cyrnn COMMAND --help says more of a command.\n\n"
        + examples("cyrnn info model.keras", "cyrnn predict model.keras input.npy -o output.npy"),
        formatter_class=plain,
    )
    parser.add_argument("--version", action="version", version=f"cyrnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, what) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", formatter_class=plain
        )
        command.set_defaults(parser=command)
        if name == next(iter(given), None):
            getattr(importlib.import_module("cyrnn.cli.arguments"), name)(command)
    return parser

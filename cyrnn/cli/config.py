"""``cyrnn config``: what this machine and this build use."""

import argparse
import json

from cyrnn import config
from cyrnn.cli.text import examples


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs (default: a line each)")
    parser.epilog = examples("cyrnn config", "cyrnn config --json | jq .threads")
    parser.set_defaults(run=_config)


def _config(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps(config.show_config("dicts"), indent=2))
    else:
        config.show_config()
    return 0

"""``cyrnn config``: what this machine and this build use."""

import argparse
import json

from cyrnn import config


def run(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps(config.show_config("dicts"), indent=2))
    else:
        config.show_config()
    return 0

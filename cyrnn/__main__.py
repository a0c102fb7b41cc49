"""``python -m cyrnn``: the command line."""

import sys

from cyrnn.cli import main

sys.exit(main())

"""How Sphinx builds the site: ``python -m sphinx -W -b dirhtml docs build/site``.

The build reads no network. With ``CYRNN_DOCS_INTERSPHINX=1``, as the workflow that publishes the site sets it, names of
Python, NumPy and SciPy are links to their sites.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from cyrnn import __version__  # the installed one, which need not be the checkout's

project = "cyrnn"
author = "The authors of cyrnn"
project_copyright = "the authors of cyrnn"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "layer_matrix",
    "gallery",
]
exclude_patterns = ["_generated", "gallery/_*"]
templates_path = ["_templates"]
nitpicky = False

html_theme = "furo"
html_title = f"cyrnn {version}"
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "none"  # types stand in the docstrings
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

doctest_global_setup = """
import numpy as np
import cyrnn
"""
doctest_test_doctest_blocks = "default"

intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
    }
    if os.environ.get("CYRNN_DOCS_INTERSPHINX") == "1"
    else {}
)


def skip_capsules(app, what, name, obj, skip, options):
    """Leave out what has no docstring of ours: the capsule of the C interface."""
    return True if type(obj).__name__ == "PyCapsule" else None


def setup(app):
    app.connect("autodoc-skip-member", skip_capsules)

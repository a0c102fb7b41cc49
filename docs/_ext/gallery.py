"""Make a page for each program in `examples/`: its docstring, how to run it, and the code."""

import ast
from pathlib import Path

from sphinx.application import Sphinx

EXAMPLES = Path(__file__).parents[2] / "examples"


def title_and_text(source: str) -> tuple[str, str]:
    """The first line of the docstring without its stop, and the rest."""
    first, _, rest = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
    return first.rstrip("."), rest.strip()


def write(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "gallery"
    folder.mkdir(exist_ok=True)
    for path in sorted(EXAMPLES.glob("*.py")):
        source = path.read_text()
        title, text = title_and_text(source)
        title = title[0].upper() + title[1:]
        page = f"# {title}\n\n{text}\n\nRun it with `python examples/{path.name}`.\n\n"
        body = source.split('"""', 2)[2].lstrip("\n")
        (folder / f"{path.stem}.md").write_text(page + f"````python\n{body}````\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write, priority=400)
    return {"parallel_read_safe": True}

"""Pages of Markdown as programs: ``python -P tests/pages.py README.md`` runs all blocks of a page, in their order.

- A `python` block runs in the process of the page, after those before it; a `sh` block in a shell, in the same folder.
- A block that begins with ``# name.py`` or ``/* name.c`` is a file of this name; so is each `cython` block. A `c` block
  without a name is none: it raises ValueError.
- A `text` block is what the blocks since the last one have printed; ``...`` stands for anything.
- ``<!-- needs: a, b -->`` before a block leaves it out where one of these modules is not installed.
- ``<!-- not run: why -->`` before a block leaves it out.
"""

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"^(?:<!-- (?P<rule>needs|not run): (?P<why>.*?) -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
_NAME = re.compile(r"(?:#|/\*) ([\w.]+\.\w+)(?=[:\n ])")


class Block(NamedTuple):
    """A block of code. `needs` are modules; `left_out` says why it is never run; `line` is that of its first line."""

    language: str
    text: str
    line: int
    needs: tuple[str, ...]
    left_out: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        found = _NAME.match(self.text)
        return found[1] if found else None


def blocks_of(text: str) -> list[Block]:
    found = []
    for match in _BLOCK.finditer(text):
        rule, why = match["rule"], match["why"] or ""
        needs = tuple(why.split(", ")) if rule == "needs" else ()
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(match["language"], match["text"], line, needs, why if rule == "not run" else ""))
    return found


def missing(block: Block) -> list[str]:
    return [name for name in block.needs if importlib.util.find_spec(name) is None]


def run(page: Path) -> list[str]:
    """Run a page in the working folder. Returns which modules were missing; raises what its programs raise."""
    names: dict[str, object] = {"__name__": "__main__"}
    printed, lacking = "", set()
    ran = False  # whether the block before a `text` block has run
    sys.path.insert(0, "")
    for block in blocks_of(page.read_text()):
        where = f"{page}:{block.line}"
        if block.language == "text":
            if ran and not _matches(printed, block.text):
                raise AssertionError(f"{where}: expected\n{block.text}\nbut these were printed:\n{printed}")
            printed = ""
            continue
        absent = missing(block)
        lacking.update(absent)
        ran = not absent and not block.left_out
        if not ran:
            continue
        if block.file is not None:
            Path(block.file).write_text(block.text)
        elif block.language == "python":
            output = io.StringIO()
            # So many lines before it that errors name the line of the page.
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            with contextlib.redirect_stdout(output):
                exec(code, names)
            printed += output.getvalue()
        elif block.language == "sh":
            printed += _shell(block.text, where)
        else:
            raise ValueError(f"{where}: a block of {block.language} is neither run nor a file with a name")
    return sorted(lacking)


def _shell(text: str, where: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("cyrnn", path=path) is None:  # a checkout that is not installed
        text = f'cyrnn() {{ python -P -m cyrnn "$@"; }}\n{text}'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        raise AssertionError(f"{where}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _matches(printed: str, expected: str) -> bool:
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, printed.strip(), re.S) is not None


def main() -> None:
    for name in sys.argv[1:]:
        page = Path(name).resolve()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            lacking = run(page)
        print(f"{name}: {len(blocks_of(page.read_text()))} blocks" + f", without {', '.join(lacking)}" * bool(lacking))


if __name__ == "__main__":
    main()

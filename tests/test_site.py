"""The site's pages: each program on them runs as it stands, in the order of its page."""

import os
import re
from pathlib import Path

import pages
import pytest
from helpers import run_python

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md") if "gallery" not in path.parts)
NEEDED = {
    "Cython",
    "setuptools",
    "dask",
    "distributed",
    "fastapi",
    "httpx",
    "jax",
    "keras",
    "numba",
    "onnx",
    "onnxruntime",
} | {
    "pandas",
    "pyarrow",
    "pyspark",
    "ray",
    "torch",
    "websockets",
    "zarr",
}  # modules that a page may need
WANTED = set(os.environ.get("CYRNN_PAGES", "").split())  # with these, only pages that need one of them are run
PROGRAMS = [
    page
    for page in PAGES
    if (blocks := pages.blocks_of((ROOT / page).read_text()))
    and (not WANTED or any(WANTED & set(block.needs) for block in blocks))
]
COMPILING = ("cython",)  # pages whose programs are compiled for many seconds
RUN = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import pages; pages.run(pathlib.Path(sys.argv[2]))"


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if page.stem in COMPILING else ()) for page in PROGRAMS],
    ids=str,
)
def test_the_programs_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_python(RUN, ROOT / "tests", ROOT / page, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_what_a_page_needs_is_known(page):
    for block in pages.blocks_of((ROOT / page).read_text()):
        assert set(block.needs) <= NEEDED, "`needs` names modules, with a comma between them"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_between_pages_exist(page):
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / page.parent / link).exists(), link


def test_a_page_that_prints_something_else_fails(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="expected\n3"):
        pages.run(page)


def test_a_block_that_nobody_runs_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```c\nint x;\n```\n")
    with pytest.raises(ValueError, match="neither run nor a file"):
        pages.run(page)

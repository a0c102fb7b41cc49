"""README fits on a screen or two, and runs as it stands, with nothing installed but cyrnn."""

import re
from pathlib import Path

import pages
import pytest
from helpers import run_python

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = pages.blocks_of(README)


def test_the_programs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import pages; pages.run(pathlib.Path(sys.argv[2]))"
    done = run_python(code, ROOT / "tests", ROOT / "README.md", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_program_needs_cyrnn_alone():
    assert [block for block in BLOCKS if block.needs] == []
    assert sum(block.language == "python" for block in BLOCKS) >= 3


def test_the_two_commands_that_ci_reads_are_the_first_ones():
    first, second = (block for block in BLOCKS if block.language == "sh")
    assert first.text == "pip install . && cyrnn demo\n"
    assert second.text == 'pip install ".[h5,test]" && pytest -n 2\n'


def test_it_is_short():
    assert README.count("\n") <= 130


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md"]
)
def test_files_that_a_page_links_to_exist(page):
    prose = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^):#]+)\)", prose):
        assert (ROOT / page).parent.joinpath(link).exists(), link

"""The files of golden/corpus are read, or refused by one error; fuzzing that looks for new ways begins with them."""

import zipfile
from pathlib import Path

import pytest
import readers

CORPUS = Path(__file__).parent / "golden" / "corpus"


def contents(kind):
    with zipfile.ZipFile(CORPUS / f"{kind}.zip") as archive:
        return [archive.read(name) for name in archive.namelist()]


@pytest.mark.parametrize("kind", readers.READERS)
def test_the_corpus_is_read_or_refused(kind):
    sound = [readers.check(kind, content) for content in contents(kind)]
    assert 3 <= sum(sound) < len(sound)


@pytest.mark.parametrize("kind", readers.READERS)
def test_files_that_are_cut_off(kind):
    for content in contents(kind):
        for length in range(0, len(content), 1 + len(content) // 40):
            readers.check(kind, content[:length])

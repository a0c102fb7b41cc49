"""Fuzzing that looks for new ways through a reader: ``python guided_fuzzing.py hdf5|safetensors SECONDS [FOLDER]``.

atheris (libFuzzer) changes the files of the corpus. Those that go a way that no other has gone are kept, in FOLDER
if there is one. An error that is no ModelFileError, a file that takes ten seconds, or 1 GB of memory, ends it with an
exit code, and that file is written here, as crash-..., timeout-... or oom-... Mend the reader, and give the file
to ``golden/corpus/make.py``, so that the tests read it from then on.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cyrnn.saving"], enable_loader_override=False):
    import readers

WORDS = {  # which are found by chance too seldom
    "hdf5": ["TREE", "HEAP", "SNOD", "GCOL", "OHDR", "\\x89HDF", "layer_names0", "weight_names1", "bfloat16", "vars"],
    "safetensors": [
        '{\\"',
        '\\"data_offsets\\":[',
        '\\"shape\\":[',
        "BF16",
        "BOOL",
        "F64",
        "__metadata__",
        "1e400",
        "[[",
    ],
}
CORPUS = Path(__file__).parent / "golden" / "corpus"


def main(kind: str, seconds: str, kept: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        known, found = Path(folder) / "known", Path(kept or f"{folder}/found")
        found.mkdir(exist_ok=True)
        with zipfile.ZipFile(CORPUS / f"{kind}.zip") as archive:
            archive.extractall(known)
        words = Path(folder) / "words"
        words.write_text("".join(f'"{word}"\n' for word in WORDS[kind]))
        options = [
            f"-dict={words}",
            f"-max_total_time={seconds}",
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-max_len=16384",
            "-print_final_stats=1",
        ]
        atheris.Setup(
            [sys.argv[0], *options, str(found), str(known)], lambda content: readers.check(kind, content) and None
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Configs in which a JSON value is replaced by another, of any type: each is read, or gets a ValueError; nothing else.

CYRNN_FUZZ_EXAMPLES=4000 pytest -m fuzz      also takes more of these
"""

import contextlib
import json
import os
import random
import zipfile
from pathlib import Path

import pytest
from changed_json import at, places, replaced

import cyrnn
from cyrnn import cli
from cyrnn.models.outline import outline
from cyrnn.saving import ModelFileError, load_model

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted([*GOLDEN.glob("*.keras"), *(GOLDEN / "files").glob("*.keras")])
EXAMPLES = 4 * int(os.environ.get("CYRNN_FUZZ_EXAMPLES", "60"))
VALUES = [None, True, 0, -1, 7, 2.5, float("nan"), "", "x", [], [7], ["x"], [[]], {}, {"class_name": 3}, {"x": None}]


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def configs():
    found = [json.loads(members(path)["config.json"]) for path in FILES]
    cases = json.loads((GOLDEN / "keras2_configs.json").read_text())["cases"]
    return found + [case["entry"] for case in cases.values()]


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")  # configs may ask for anything
def test_configs_are_read_or_refused(configs):
    everywhere = [(config, path) for config in configs for path in places(config)]
    draw, refused = random.Random(0), 0
    for _ in range(EXAMPLES):
        config, path = draw.choice(everywhere)
        changed = replaced(config, path, draw.choice(VALUES))
        try:
            cyrnn.from_json(json.dumps(changed))
        except ValueError as error:
            refused += 1
            assert str(error), changed
        if isinstance(changed, dict):
            outline(changed)
    assert EXAMPLES // 4 < refused < EXAMPLES  # the changes are neither harmless nor all of one kind


def written(path, source, **changes):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (source | {f"{name}.json": json.dumps(new) for name, new in changes.items()}).items():
            archive.writestr(name, content)
    return path


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")
def test_files_are_described_or_refused_in_one_line(tmp_path, capsys):
    draw, codes = random.Random(1), set()
    sources = [members(path) for path in FILES]
    for _ in range(EXAMPLES // 4):
        source = draw.choice(sources)
        member = draw.choice(["config", "config", "config", "metadata"])
        sound = json.loads(source[f"{member}.json"])
        changed = replaced(sound, draw.choice(list(places(sound))), draw.choice(VALUES))
        path = written(tmp_path / "m.keras", source, **{member: changed})
        try:
            load_model(path, compile=False)
            loaded = True
        except ModelFileError:
            loaded = False
        with contextlib.suppress(ModelFileError):
            load_model(path)
        code = cli.main(["info", str(path)])
        codes.add(code)
        printed = capsys.readouterr()
        assert (code == 0) is loaded and printed.err.count("\n") == (code == 2), (changed, printed)
        if code == 1:
            assert "cannot run here: " in printed.out, changed
        if code == 2:
            assert printed.out == "" and str(path) in printed.err, changed
    assert codes == {0, 1, 2}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_sizes_of_any_magnitude_are_compared_with_the_weights(tmp_path):
    """No size that a config names is taken for true before the file's weights have it too."""
    for name in ("translator.keras", "files/keras213.keras"):
        source = members(GOLDEN / name)
        config, refused = json.loads(source["config.json"]), 0
        for path in places(config):
            if at(config, path) is None or type(at(config, path)) is int:
                changed = written(tmp_path / "m.keras", source, config=replaced(config, path, 10**18))
                try:
                    load_model(changed)
                except ModelFileError:
                    refused += 1
        assert refused > 10


@pytest.mark.parametrize("config", [7, 2.5, True, "layers", None])
def test_a_sequential_whose_config_is_no_dict(tmp_path, capsys, config):
    source = members(GOLDEN / "files" / "keras3.keras")
    envelope = {**json.loads(source["config.json"]), "config": config}
    words = "the config of a?.?'?Sequential'? must be a dict"
    with pytest.raises(ValueError, match=words):
        cyrnn.from_json(json.dumps(envelope))
    path = written(tmp_path / "m.keras", source, config=envelope)
    with pytest.raises(ModelFileError, match=words):
        load_model(path)
    assert outline(envelope) == []
    assert cli.main(["info", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and printed.err.startswith(f"cyrnn info: {path}: ")
    assert "Sequential' must be a dict" in printed.err

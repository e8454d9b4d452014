"""Group A: hostile names, IDs, revisions and sizes, seen from the command line."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import save

from mirror import File, Repository
from tests.hostile.hub_files import BIG, FILES, WEIGHTS, kept, pull

__all__ = ["pull"]

NAMES = {
    "A30 up": "../x.json",
    "A31 absolute": "/abs.json",
    "A32 up from inside": "a/../../x.json",
    "A33 a drive": "C:\\x.json",
    "A34 backslashes": "a\\..\\b.json",
    "A35 a share": "\\\\host\\x.json",
    "A36 an empty part": "a//b.json",
    "A37 a device of Windows": "CON",
    "A38 a line break": "x\ny.json",
    "A39 300 bytes": "x" * 300,
    "A40 no name": "",
    "A41 a folder": "dir/",
    "A42 a tool's own": ".cache/huggingface/x",
    "A44 only the case differs": "BUNDLE.yaml",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_that_could_harm_are_refused(hub, pull, hub_home, name):
    repository = Repository(FILES)
    repository.forged.append({"type": "file", "path": name, "size": 3, "oid": "1" * 40})
    hub({"ann/tiny": repository})
    assert "S415 " in pull(3)
    assert kept(hub_home) == {}


def test_a43_names_that_differ_in_their_normal_form(hub, pull, cli, new_process):
    one, two = "\u00e9.json", "e\u0301.json"
    row = {"type": "file", "size": 3, "oid": "1" * 40}
    repository = Repository(FILES)
    repository.forged.append({**row, "path": one})
    mirror = hub({"ann/tiny": repository})
    assert cli("check", "ann/tiny")[0] == 0, "one name beyond ASCII is fine"
    repository.push({**FILES, "more.txt": b"another commit"})
    repository.forged.append({**row, "path": two})
    new_process()
    assert "which some systems treat as one name" in pull(3)
    assert mirror.sent


def test_a45_a_hundred_thousand_files(hub, pull):
    repository = Repository(FILES)
    row = {"type": "file", "size": 3, "oid": "1" * 40}
    repository.forged += [{**row, "path": f"{n}.json"} for n in range(100_000)]
    hub({"ann/tiny": repository})
    assert "S416 ann/tiny lists more than 20000 files" in pull(3)


def test_a46_a_terabyte(hub, cli, tmp_path):
    header = json.dumps(
        {"0.weight": {"dtype": "F32", "shape": [500_000_000_000 // 4, 2],
                      "data_offsets": [0, 10**12]}}
    ).encode()  # fmt: skip
    header = header.replace(b"[125000000000, 2]", b"[500000000, 500]")
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 10**12)
    manifest = FILES["bundle.yaml"].replace(b"N 4", b"N 500")
    huge = File(path, lfs=True, digest="ab" * 32)
    mirror = hub({"ann/tiny": {"bundle.yaml": manifest, WEIGHTS: huge}})
    assert cli("check", "ann/tiny")[0] == 0
    code, _, err = cli("pull", "ann/tiny")
    assert (code, mirror.sent < 1_000_000) == (3, True)
    assert "S416 the bundle needs 1 files of 1000 GB" in err
    path.unlink()


def test_a47_a_large_repository_of_which_little_is_needed(hub, cli, hub_home):
    others = {f"other/{n}.json": b"{}" for n in range(2498)}
    mirror = hub({"ann/tiny": {**FILES, **others}})
    assert cli("pull", "ann/tiny")[0] == 0
    assert len(mirror.requests_of("/tree/")) == 3
    assert set(kept(hub_home)) == {"bundle.yaml", Path(WEIGHTS).name}


@pytest.mark.parametrize(
    "name",
    ["hf:../x", "hf:org/a--b", "hf:https://huggingface.co/ann/tiny", "hf:a/b/c", "hf:ann/tiny.git"],
)
def test_a48_a49_a50_ids(hub, pull, name):
    mirror = hub({"ann/tiny": FILES})
    assert "S414 " in pull(3, name)
    assert mirror.requests == []


@pytest.mark.parametrize("revision", ["../../x", "a\0b", "/etc", "a b", "-x", "a..b", ""])
def test_a51_a52_revisions(hub, pull, revision, hub_home):
    mirror = hub({"ann/tiny": FILES})
    assert "S414 " in pull(3, f"hf:ann/tiny@{revision}")
    assert mirror.requests == []
    assert not list(hub_home.glob("hub/*"))


@pytest.mark.parametrize("ref", ["main", "v1"], ids=["A53 a branch", "A54 a tag"])
def test_what_a_name_points_to_moves(hub, cli, hub_home, new_process, tmp_path, ref):
    """A locked bundle keeps its commit, and is refused where that is gone."""
    repository = Repository()
    old = repository.push(FILES, ref=ref)
    hub({"ann/tiny": repository})
    folder = tmp_path / "mine"
    folder.mkdir()
    text = FILES["bundle.yaml"].replace(b"./", b"hf:ann/tiny@" + ref.encode())
    (folder / "bundle.yaml").write_bytes(text)
    assert cli("lock", folder)[0] == 0
    moved = {**FILES, WEIGHTS: save({"0.weight": BIG + 1})}
    new = repository.push(moved, ref=ref)
    new_process()
    assert cli("pull", folder)[0] == 0
    assert kept(hub_home)[Path(WEIGHTS).name] == FILES[WEIGHTS]

    shutil.rmtree(hub_home)
    repository.commits = {new: repository.commits[new]}
    new_process()
    code, _, err = cli("pull", folder)
    assert code in (3, 4)
    assert "S492 " in err
    assert kept(hub_home) == {}

    repository.commits[old] = repository.commits[new]
    new_process()
    code, _, err = cli("pull", folder)
    assert code == 3
    assert f"{WEIGHTS}" in err
    assert kept(hub_home) == {}

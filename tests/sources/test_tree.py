import pytest

from composer.sources.hub.tree import parse_entries
from tests.sources.conftest import refusal

GIT, SHA = "1" * 40, "2" * 64


def entry(path, size=3, oid=GIT, **more):
    return {"type": "file", "path": path, "size": size, "oid": oid, **more}


def test_files_and_their_digests():
    entries = [
        {"type": "directory", "path": "mlx", "oid": GIT, "size": 0},
        entry("mlx/config.json"),
        entry("mlx/model.safetensors", 130, lfs={"oid": SHA, "size": 7, "pointerSize": 130}),
        entry("Ünïcode name.json"),
    ]
    files = parse_entries("a/b", entries)
    assert {path: (f.size, f.digest, f.algorithm) for path, f in files.items()} == {
        "mlx/config.json": (3, GIT, "git"),
        "mlx/model.safetensors": (7, SHA, "sha256"),
        "Ünïcode name.json": (3, GIT, "git"),
    }


@pytest.mark.parametrize(
    "path",
    ["../x", "/abs", "a/../../x", "C:\\x", "a\\..\\b", "\\\\host\\x", "a//b", "CON", "aux.txt",
     "b/nul",
     "x\ny", "x\0", "n" * 300, "", "dir/", ".", "a/.", "a:b", "x ", "x.", "a?", ".git/config",
     ".cache/huggingface/x", "a\u202eb"],
)  # fmt: skip
def test_a_name_that_could_harm(path):
    (found,) = refusal(parse_entries, "a/b", [entry("good.json"), entry(path)])
    assert found.startswith("S415 a/b has the name ")
    assert "hint: the repository is damaged or hostile" in found


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("README.md", "README.MD"),
        ("caf\u00e9.json", "cafe\u0301.json"),
        ("straße", "strasse"),
        ("a/x.json", "A/y.json"),
        ("a", "a/b"),
        ("a", "a"),
    ],
)
def test_names_that_meet(one, two):
    (found,) = refusal(parse_entries, "a/b", [entry(one), entry(two)])
    assert found.startswith("S415 a/b ")


def test_a_folder_and_a_file_of_one_name():
    folder = {"type": "directory", "path": "A", "oid": GIT, "size": 0}
    (found,) = refusal(parse_entries, "a/b", [folder, entry("a")])
    assert found.startswith("S415 a/b has 'A' and 'a', which some systems treat as one name")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (entry("x", oid="../../../../X"), "its digest '../../../../X' is not git's hash of a blob"),
        (entry("x", oid=None), "its digest 'None' is not git's hash of a blob"),
        (entry("x", lfs={"oid": GIT, "size": 3}), "its digest '1111"),
        (entry("x", size=-1), "its size '-1' is not a number of bytes"),
        (entry("x", size=2**60), "is not a number of bytes"),
        (entry("x", size="3"), "its size '3' is not a number of bytes"),
        (entry("x", size=True), "its size 'True' is not a number of bytes"),
        ("x", "has 'x', which is not a file"),
        ({"path": 3}, "which is not a file"),
    ],
)
def test_a_row_that_nothing_can_be_verified_by(row, message):
    (found,) = refusal(parse_entries, "a/b", [row])
    assert found.startswith("S438 ")
    assert message in found

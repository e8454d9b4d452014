import os
from pathlib import Path

import pytest

from composer.core.location import Location
from composer.formats import LocalFiles
from composer.formats.wrong_file_type import refuse_wrong_type
from tests.formats.making import refusal

FILES = LocalFiles()


def test_ranges_are_exact(repo: Location) -> None:
    (repo / "a").path.write_bytes(b"0123456789")
    with FILES.open(repo / "a") as ranges:
        assert ranges.size == 10
        assert ranges.read(3, 4) == b"3456"
        assert ranges.read(10, 0) == b""


def test_a_file_that_shrinks_is_refused(repo: Location) -> None:
    (repo / "a").path.write_bytes(bytes(10))
    with FILES.open(repo / "a") as ranges:
        os.truncate((repo / "a").path, 5)
        text = refusal(lambda: ranges.read(0, 10))
    assert text == "repo/a: S409 became shorter while it was being read"


@pytest.mark.parametrize("inside", ["../x", "a/../../x", "/etc/passwd", "a\\b", "a\0b"])
def test_a_path_that_leaves_its_source_is_refused(repo: Location, inside: str) -> None:
    location = Location("repo", inside, repo.root)
    text = refusal(lambda: FILES.open(location))
    shown = str(location).replace("\0", "\\x00")
    assert text == (
        f"{shown}: S400 the path {inside!r} may leave the source\n"
        "    hint: write it relative to the source, with / and without .."
    )
    assert refusal(lambda: FILES.kind(location)) == text
    assert refusal(lambda: FILES.names(location)) == text


def test_links_stay_in_the_source(repo: Location, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (repo / "a").path.symlink_to(tmp_path / "secret")
    (repo / "up").path.symlink_to(tmp_path)
    for name in ("a", "up/secret"):
        assert refusal(lambda name=name: FILES.open(repo / name)) == (
            f"repo/{name}: S400 is a link that leads out of repo\n"
            "    hint: put the file itself there"
        )
    (repo / "b").path.write_bytes(b"1")
    (repo / "c").path.symlink_to("b")
    with FILES.open(repo / "c") as ranges:
        assert ranges.read(0, 1) == b"1"


def test_a_source_may_itself_be_a_link(repo: Location, tmp_path: Path) -> None:
    (repo / "a").path.write_bytes(b"1")
    (tmp_path / "alias").symlink_to(repo.path)
    assert FILES.kind(Location("repo", "a", tmp_path / "alias")) == "file"


@pytest.fixture
def cache(tmp_path: Path) -> Location:
    """A Hugging Face cache of one repository, with two blobs."""
    root = tmp_path / "models--a--b/snapshots/abc"
    (root / "sub").mkdir(parents=True)
    blobs = tmp_path / "models--a--b/blobs"
    blobs.mkdir()
    (blobs / "00").write_bytes(b"1")
    (root / "sub/config.json").symlink_to("../../../blobs/00")
    return Location("repo", "", root)


def test_links_of_a_hugging_face_cache_are_followed(cache: Location) -> None:
    assert FILES.kind(cache / "sub/config.json") == "file"
    below = Location("repo", "config.json", cache.root / "sub")
    assert FILES.kind(below) == "file"


def test_blobs_that_repositories_of_a_cache_share(cache: Location, tmp_path: Path) -> None:
    shared = tmp_path / "blobs/ab/abcd"
    shared.parent.mkdir(parents=True)
    shared.write_bytes(b"1")
    (tmp_path / "models--a--b/blobs/11").symlink_to("../../blobs/ab/abcd")
    (cache / "x").path.symlink_to("../../blobs/11")
    assert FILES.kind(cache / "x") == "file"


@pytest.mark.parametrize(
    "target",
    ["../../refs/main", "../../blobs/d/x", "../../../models--c/blobs/x", "../../../blobs/x"],
)
def test_other_links_of_a_cache_are_not(cache: Location, target: str) -> None:
    assert cache.root is not None
    path = cache.root / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"2")
    (cache / "x").path.symlink_to(target)
    assert "S400 is a link that leads out of repo" in refusal(lambda: FILES.kind(cache / "x"))


def test_only_regular_files_are_opened(repo: Location) -> None:
    os.mkfifo((repo / "pipe").path)
    (repo / "folder").path.mkdir()
    assert FILES.kind(repo / "pipe") == "other"
    assert refusal(lambda: FILES.open(repo / "pipe")) == (
        "repo/pipe: S402 is a named pipe, not a regular file"
    )
    assert refusal(lambda: FILES.open(repo / "folder")) == (
        "repo/folder: S402 is a folder, not a regular file"
    )


def test_a_link_to_itself_is_absent(repo: Location) -> None:
    (repo / "loop").path.symlink_to("loop")
    assert FILES.kind(repo / "loop") is None


def test_absent_says_what_is_there(repo: Location) -> None:
    (repo / "mlx").path.mkdir()
    for name in ("llm-mixed8_4", "llm-dwq4"):
        (repo / "mlx" / name).path.mkdir()
    text = refusal(lambda: FILES.open(repo / "mlx/llm-mixd8_4/config.json"))
    assert text == (
        "repo/mlx/llm-mixd8_4/config.json: S401 repo/mlx/llm-mixd8_4/config.json does not exist\n"
        "    repo/mlx contains llm-dwq4, llm-mixed8_4\n"
        "    hint: did you mean 'repo/mlx/llm-mixed8_4/config.json'?"
    )


def test_absent_in_an_empty_or_missing_source(repo: Location) -> None:
    assert refusal(lambda: FILES.open(repo / "a")) == (
        "repo/a: S401 repo/a does not exist\n    repo contains nothing"
    )
    assert repo.root is not None
    gone = Location("repo", "a", repo.root / "gone")
    assert refusal(lambda: FILES.open(gone)) == (
        "repo/a: S401 repo/a does not exist\n    repo does not exist"
    )


def test_a_path_through_a_file(repo: Location) -> None:
    (repo / "a").path.write_bytes(b"")
    assert refusal(lambda: FILES.open(repo / "a/b")) == (
        "repo/a/b: S401 repo/a/b does not exist\n    repo/a is not a folder"
    )


def test_a_source_that_is_not_here() -> None:
    assert refusal(lambda: FILES.kind(Location("repo", "a", None))) == (
        "repo/a: S403 the source 'repo' is not on this machine\n"
        "    hint: fetch it first, or point the source at a folder"
    )


def test_a_folder_of_too_many_names(repo: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composer.formats.files.MAX_ENTRIES", 2)
    for name in "abc":
        (repo / name).path.write_bytes(b"")
    assert refusal(lambda: FILES.names(repo)) == "repo: S402 has more than 2 names"
    assert (
        refusal(lambda: FILES.names(repo / "a")) == "repo/a: S402 cannot be listed: Not a directory"
    )


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"GGUF\x03", "a GGUF file"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\x93NUMPY", "a NumPy array"),
    ],
)
def test_other_formats_are_named(repo: Location, head: bytes, name: str) -> None:
    text = refusal(lambda: refuse_wrong_type(repo, head, "safetensors"))
    assert text.startswith(f"repo: S406 is {name}, not safetensors\n")

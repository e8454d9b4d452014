"""A lock says what a bundle was; whatever differs from it is refused with what differs."""

import json
import os

import pytest

import composer
from composer import ComposerError
from composer.publishing.lock import make_lock
from composer.sources.lock import read_lock
from composer.sources.resolve import find_bundle
from tests.sources.conftest import refusal
from tests.sources.locking import OTHER, SMALLER, WEIGHTS, cli, data_of, lock, messages
from tests.sources.test_probe import BUNDLE, WithWeights, with_weights

__all__ = ["WithWeights", "cli", "with_weights"]


@pytest.fixture
def bundle(hub_home, tmp_path, monkeypatch):
    """Write a bundle into the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle.yaml").write_text(BUNDLE)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(WEIGHTS)
    return weights


def test_a_lock_holds_bytes_ports_and_licences(bundle):
    made = lock()
    assert read_lock(made.path).model == made.model
    assert make_lock(find_bundle(".")).bytes == made.bytes
    data = json.loads(made.bytes)
    assert data["sources"] == {
        ".": {"licence": {}, "files": {"model.safetensors": data_of(WEIGHTS)}}
    }
    assert data["manifest"] == data_of(BUNDLE.encode())
    assert data["edition"] == {
        "components": {
            "weights": {
                "use": "fake.weighed",
                "dtype": "f32",
                "dims": {},
                "ports": {"__call__": "text: text -> out: text"},
            }
        },
        "tasks": {"default": {"inputs": {"line": "text"}, "outputs": {"text": "text"}}},
    }
    assert composer.check(".").ok


def test_another_size_is_refused_when_it_is_checked(bundle):
    lock()
    bundle.write_bytes(SMALLER)
    assert messages(composer.check(".")) == [
        "bundle.yaml:5:3: S465 own/model.safetensors differs from bundle.lock\n"
        f"    {len(SMALLER)} bytes, locked {len(WEIGHTS)}\n"
        "    hint: use the locked files or, if the change is intended, run composer lock"
    ]


def test_other_bytes_are_refused_when_they_are_loaded(bundle):
    lock()
    bundle.write_bytes(OTHER)
    assert composer.check(".").ok  # nothing was hashed
    (found,) = refusal(composer.load, ".")
    assert "S465 own/model.safetensors differs from bundle.lock\n    sha256 is " in found
    # The digest is remembered, so that a check knows now.
    assert [each.code for each in composer.check(".").problems] == ["S465"]


def test_bytes_put_back_to_their_time_are_hashed_again(bundle):
    lock()
    before = bundle.stat()
    bundle.write_bytes(OTHER)
    os.utime(bundle, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert refusal(composer.load, ".")


def test_an_untouched_file_is_hashed_once(bundle, monkeypatch):
    lock()
    again = "composer.sources.lock.digests.rehash"
    monkeypatch.setattr(again, lambda path: pytest.fail("hashed"))
    composer.load(".").close()


def test_a_file_that_was_not_locked_is_refused(bundle, tmp_path):
    lock()
    (tmp_path / "bundle.yaml").write_text(BUNDLE.replace("own/model", "own/other"))
    bundle.rename(tmp_path / "other.safetensors")
    assert [each.partition(": ")[2].splitlines()[0] for each in messages(composer.check("."))] == [
        "S466 bundle.yaml differs from the manifest that bundle.lock was made from",
        "S465 own/other.safetensors is not in bundle.lock",
    ]


def test_another_manifest_is_refused(bundle, tmp_path):
    lock()
    (tmp_path / "bundle.yaml").write_text(BUNDLE + "# said later\n")
    assert messages(composer.check(".")) == [
        "bundle.yaml:1:1: S466 bundle.yaml differs from the manifest that bundle.lock was "
        "made from\n"
        "    hint: if the change is intended, update the lock: composer lock"
    ]
    with pytest.raises(ComposerError) as caught:
        composer.load(".")
    assert caught.value.exit_code == 3


def test_other_ports_are_refused(bundle):
    path = lock().path
    data = json.loads(path.read_bytes())
    data["edition"]["components"]["weights"]["dims"] = {"D": 3}
    data["edition"]["tasks"]["default"]["outputs"]["text"] = "audio"
    path.write_text(json.dumps(data))
    weights, task = messages(composer.check("."))
    if task.startswith("bundle.yaml:5"):
        weights, task = task, weights
    assert weights == (
        "bundle.yaml:5:3: S466 weights differs from bundle.lock\n"
        "    D is missing, locked 3\n"
        "    hint: if the change is intended, update the lock: composer lock"
    )
    assert "S466 the task default differs from bundle.lock\n    text is text, locked audio" in (
        task
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not JSON"),
        ('{"lock": 1, "lock": 1}', "it has the key 'lock' twice"),
        ('{"lock": 2}', "its version is 2, but only 1 is supported"),
        ('{"lock": 1}', "Field required"),
    ],
)
def test_what_is_no_lock_is_refused(bundle, tmp_path, text, why):
    (tmp_path / "bundle.lock").write_text(text)
    (found,) = messages(composer.check("."))
    assert found.startswith("bundle.lock: S464 this is not a lock of a bundle: ")
    assert why in found


def test_a_lock_names_no_file_outside(bundle):
    path = lock().path
    path.write_text(path.read_text().replace("model.safetensors", "../model.safetensors"))
    (found,) = messages(composer.check("."))
    assert "'../model.safetensors' is not a safe name: it may leave the repository" in found


def test_verify_lists_everything_that_differs(bundle, cli):
    lock()
    code, out, err = cli("verify", ".")
    assert (code, err) == (0, "")
    assert out.startswith("weighed: 1 file, ")
    assert out.endswith(", all as bundle.lock has them\n")
    bundle.write_bytes(OTHER)
    code, out, err = cli("verify", ".")
    assert (code, out) == (3, "weighed: 1 difference\n")
    assert err.startswith("S465 ./model.safetensors differs from bundle.lock\n    sha256 is ")
    bundle.unlink()
    code, out, err = cli("verify", ".")
    assert (code, out) == (3, "weighed: 1 difference\n")
    assert "it cannot be read: No such file or directory" in err


def test_a_lock_leads_nowhere_else(bundle, cli):
    path = lock().path
    path.write_text(path.read_text().replace('".": {', '"/etc": {'))
    code, _, err = cli("verify", ".")
    assert code == 3
    assert "S466 bundle.lock names the source '/etc', which is not there" in err
    assert "sha256" not in err


def test_verify_without_a_lock(bundle, cli):
    assert cli("verify", ".") == (
        3,
        "",
        "S464 . has no lock\n    hint: composer lock writes one; --lock names another file\n",
    )


def test_a_folder_stands_in_if_its_bytes_are_the_locked_ones(bundle, tmp_path, cli):
    lock()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "model.safetensors").write_bytes(WEIGHTS)
    assert cli("verify", ".", "--source", f"own={copy}")[0] == 0
    composer.load(".", sources={"own": copy}).close()
    (copy / "model.safetensors").write_bytes(OTHER)
    assert cli("verify", ".", "--source", f"own={copy}")[0] == 3
    assert refusal(composer.load, ".", sources={"own": copy})


@pytest.mark.parametrize("what", ["pipe", "folder", "nowhere", "elsewhere"])
def test_what_lies_in_a_locks_place_is_not_taken_for_none(bundle, tmp_path, what):
    path = tmp_path / "bundle.lock"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "nowhere":
        path.symlink_to("nothing")
    else:
        other = tmp_path.parent / f"{tmp_path.name}-other"
        other.write_text("root:x:0:0")
        path.symlink_to(other)
    (found,) = messages(composer.check("."))
    why = {
        "pipe": "it is a named pipe",
        "folder": "it is a folder",
        "nowhere": "it cannot be read: No such file or directory",
        "elsewhere": "it is a link that leads out of its folder",
    }
    assert found.startswith(f"bundle.lock: S464 this is not a lock of a bundle: {why[what]}")
    assert "root" not in found

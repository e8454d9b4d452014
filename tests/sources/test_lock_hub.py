"""Locks of bundles on the Hub, the user's own and those that came with a bundle."""

import json

import pytest

import composer
from composer.publishing.lock import make_lock
from composer.runtime import sandbox as probe
from composer.sources.hub import parse_id
from composer.sources.resolve import find_bundle
from mirror import Repository
from tests.sources.conftest import mini, snapshot
from tests.sources.locking import OTHER, SMALLER, WEIGHTS, cli, data_of, lock, messages, remote
from tests.sources.test_probe import BUNDLE, WithWeights, with_weights

__all__ = ["WithWeights", "cli", "remote", "with_weights"]


def test_a_locked_source_stays_at_its_commit(remote, new_process):
    mirror, repository = remote
    first = repository.commit()
    made = lock()
    entry = made.model.sources["hf:ann/tiny"]
    assert entry.commit == first
    assert entry.licence == {
        "license": "apache-2.0", "license_link": "https://example.org/terms",
    }  # fmt: skip
    whole = sum(request.sent for request in mirror.requests_of("model.safetensors"))
    assert whole <= len(WEIGHTS)
    repository.push({"model.safetensors": SMALLER})
    new_process()
    report = composer.check(".")
    assert messages(report) == []
    assert report.bundle.components["weights"].spec.weights.path.parent.name == first
    with composer.load(".") as loaded:
        assert loaded.run(line="yes").text == "YES"
    new_process(offline=True)
    mirror.requests.clear()
    assert messages(composer.check(".")) == []
    with composer.load(".") as loaded:
        assert loaded.run(line="yes").text == "YES"
    assert mirror.requests == []


def test_without_a_lock_the_source_moves_on(remote, new_process):
    _, repository = remote
    repository.push({"model.safetensors": SMALLER})
    new_process()
    assert composer.check(".").bundle.components["weights"].facts.nbytes == 3600


def test_what_the_user_locked_is_not_tried_first(remote, monkeypatch, cli):
    monkeypatch.setattr(probe, "_load_in_child", lambda *given: pytest.fail("tried"))
    assert cli("lock", ".")[0] == 0
    composer.load(".").close()


def test_what_the_user_names_as_its_lock_is_not_tried_first(remote, monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "_load_in_child", lambda *given: pytest.fail("tried"))
    made = make_lock(find_bundle("."))
    (tmp_path / "mine.lock").write_bytes(made.bytes)
    composer.load(".", lock=tmp_path / "mine.lock").close()


def test_a_lock_that_came_with_a_folder_grants_nothing(remote, monkeypatch):
    """A clone, or an unpacked archive, may contain one."""
    lock()
    tried = []
    monkeypatch.setattr(
        probe, "_load_in_child", lambda checked, names, request: tried.append(names)
    )
    composer.load(".").close()
    assert tried == [["weights"]]


def test_a_lock_that_was_changed_is_not_the_users_any_more(remote, monkeypatch, cli, tmp_path):
    cli("lock", ".")
    path = tmp_path / "bundle.lock"
    path.write_text(path.read_text().replace('"license": "apache-2.0"', '"license": "mit"'))
    tried = []
    monkeypatch.setattr(
        probe, "_load_in_child", lambda checked, names, request: tried.append(names)
    )
    (found,) = messages(composer.check("."))
    assert found.endswith(
        "S466 bundle.lock states a licence of hf:ann/tiny that differs from its card\n"
        "    the card: license apache-2.0, license_link https://example.org/terms\n"
        "    the lock: license mit, license_link https://example.org/terms\n"
        "    hint: if the change is intended, update the lock: composer lock"
    )


def test_the_licence_of_a_lock_that_came_with_a_bundle_is_asked_for(
    remote, cli, tmp_path, new_process
):
    path = lock().path
    path.write_text(path.read_text().replace('"license": "apache-2.0"', '"license": "mit"'))
    for note in (tmp_path / "hf" / "assets").rglob("cards/*"):
        note.unlink()
    new_process()
    code, out, err = cli("licences", ".")
    assert code == 0, err
    assert "apache-2.0" in out
    assert "mit" not in out
    new_process()
    code, _, err = cli("pull", ".")
    assert code == 3
    assert "S466 bundle.lock states a licence of hf:ann/tiny that differs from its card" in err


def test_what_the_hub_locked_is_tried_first(hub, hub_home, tmp_path, monkeypatch):
    (tmp_path / "bundle.yaml").write_text(BUNDLE)
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    made = lock(tmp_path)
    files = {path.name: path for path in tmp_path.iterdir() if path.is_file()}
    assert "bundle.lock" in files
    hub({"ann/locked": files})
    tried = []
    monkeypatch.setattr(
        probe, "_load_in_child", lambda checked, names, request: tried.append(names)
    )
    with composer.load("ann/locked") as loaded:
        assert loaded.checked.lock.model == made.model
    assert tried == [["weights"]]


def test_what_the_hub_serves_is_checked_against_its_lock(hub, hub_home, tmp_path):
    (tmp_path / "bundle.yaml").write_text(BUNDLE)
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    files = {"bundle.lock": lock(tmp_path).bytes, "bundle.yaml": BUNDLE.encode()}
    hub({"ann/locked": files | {"model.safetensors": OTHER}})
    (found,) = messages(composer.check("ann/locked"))
    assert "S465 own/model.safetensors differs from bundle.lock\n    sha256 is " in found


def test_verify_of_the_cache_needs_no_network(remote, new_process, cli):
    mirror, _ = remote
    lock()
    code, out, err = cli("verify", ".")
    assert (code, out) == (3, "weighed: 1 difference\n")
    assert "it cannot be read: No such file or directory" in err
    cli("pull", ".")
    new_process()
    mirror.requests.clear()
    assert cli("verify", ".")[0] == 0
    found = snapshot(parse_id("ann/tiny"))
    blob = found.blob(found.files["model.safetensors"])
    mirror.requests.clear()
    blob.write_bytes(OTHER)
    new_process()
    code, out, err = cli("verify", ".")
    assert (code, out) == (3, "weighed: 1 difference\n")
    assert "S465 hf:ann/tiny/model.safetensors differs from bundle.lock" in err
    assert mirror.requests == []


def test_lock_a_bundle_of_the_hub_elsewhere(hub, hub_home, tmp_path, monkeypatch, cli, new_process):
    monkeypatch.chdir(tmp_path)
    files = {"bundle.yaml": BUNDLE.encode(), "model.safetensors": WEIGHTS}
    repository = Repository(files)
    hub({"ann/tiny": repository})
    code, _, err = cli("lock", "ann/tiny")
    assert code == 2
    assert "is not yours to lock in its place: name a file by -o" in err.replace("\n", " ")
    assert cli("lock", "ann/tiny", "-o", "tiny.lock")[0] == 0
    repository.push(files | {"model.safetensors": SMALLER})
    new_process()
    assert cli("pull", "ann/tiny", "--lock", "tiny.lock")[0] == 0
    assert cli("run", "ann/tiny", "--lock", "tiny.lock", "-i", "line=yes") == (0, "YES\n", "")
    assert cli("check", "ann/tiny", "--lock", "tiny.lock")[0] == 0
    assert cli("verify", "ann/tiny", "--lock", "tiny.lock")[0] == 0
    assert cli("verify", "ann/tiny")[0] == 3  # that lock is not beside it
    code, _, err = cli("check", f"ann/tiny@{repository.commit()}", "--lock", "tiny.lock")
    assert code == 3
    assert "S465 own/model.safetensors differs from tiny.lock" in err


def test_a_lock_of_a_folder_in_place_of_a_repository(remote, tmp_path, cli):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    assert cli("lock", ".", "--source", f"own={folder}")[0] == 0
    assert cli("verify", ".", "--source", f"own={folder}")[0] == 0
    assert cli("verify", ".")[2].startswith(
        "S465 hf:ann/tiny was locked from a folder, which is not given\n"
        "    hint: name it: --source NAME=FOLDER\n"
    )


def test_large_files_are_locked_from_their_listing(hub, hub_home, tmp_path, cli):
    files = mini()
    mirror = hub({"ann/mini": files})
    assert cli("lock", "ann/mini", "-o", tmp_path / "mini.lock")[0] == 0
    large = [r for r in mirror.requests if r.path.endswith((".safetensors", ".onnx"))]
    assert sum(request.sent for request in large) < 1_500_000  # of 7 MB
    locked = json.loads((tmp_path / "mini.lock").read_bytes())["sources"]["."]["files"]
    assert len(locked) == 5
    for name, entry in locked.items():
        assert entry == data_of(files[name].read_bytes())
    assert cli("pull", "ann/mini", "--lock", tmp_path / "mini.lock")[0] == 0
    assert cli("verify", "ann/mini", "--lock", tmp_path / "mini.lock")[0] == 0

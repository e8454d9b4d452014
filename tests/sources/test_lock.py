"""A lock says what a bundle was; whatever differs from it is refused with what differs."""

import hashlib
import json
import os

import pytest

import composer
from composer import ComposerError
from composer.cli import main
from composer.publishing.lock import make_lock
from composer.runtime import sandbox as probe
from composer.sources.hub import parse_id
from composer.sources.lock import read_lock
from composer.sources.resolve import find_bundle
from mirror import Repository
from tests.sources.conftest import mini, refusal, snapshot
from tests.sources.test_probe import BUNDLE, Weighed, weighed
from tests.sources.test_ranges import safetensors

__all__ = ["Weighed", "weighed"]

WEIGHTS, SMALLER = safetensors({"a": [1000]}), safetensors({"a": [900]})
OTHER = WEIGHTS[:-1] + b"\1"
HUB = BUNDLE.replace("./", "hf:ann/tiny")
CARD = b"---\nlicense: apache-2.0\nlicense_link: https://example.org/terms\n---\n# Weighed\n"


@pytest.fixture
def bundle(hub_home, tmp_path, monkeypatch):
    """Write a bundle into the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle.yaml").write_text(BUNDLE)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(WEIGHTS)
    return weights


@pytest.fixture
def cli(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def lock(name="."):
    made = make_lock(find_bundle(name))
    made.path.write_bytes(made.bytes)
    return made


def messages(report):
    return [str(problem) for problem in report.problems]


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
        "tasks": {"default": {"inputs": {"said": "text"}, "outputs": {"text": "text"}}},
    }
    assert composer.check(".").ok


def data_of(data):
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


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
    again = "composer.sources.lock.digests.hash_again"
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


def test_verify_tells_everything_that_differs(bundle, cli):
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


# On the Hub


@pytest.fixture
def remote(hub, hub_home, tmp_path, monkeypatch):
    """Serve the weights, and write a manifest that names them; return the repository."""
    monkeypatch.chdir(tmp_path)
    repository = Repository({"model.safetensors": WEIGHTS, "README.md": CARD})
    mirror = hub({"ann/tiny": repository})
    (tmp_path / "bundle.yaml").write_text(HUB)
    return mirror, repository


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
        assert loaded.run(said="yes").text == "YES"
    new_process(offline=True)
    mirror.requests.clear()
    assert messages(composer.check(".")) == []
    with composer.load(".") as loaded:
        assert loaded.run(said="yes").text == "YES"
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
    """A clone, or an unpacked archive, may bring one."""
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


def test_what_the_hub_serves_is_held_against_its_lock(hub, hub_home, tmp_path):
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
    assert cli("run", "ann/tiny", "--lock", "tiny.lock", "-i", "said=yes") == (0, "YES\n", "")
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

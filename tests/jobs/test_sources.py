"""Jobs on bundles that are not run: locks, licences, copies, the catalogue, publishing."""

import hashlib
import json
import shutil

import pytest

import composer
from composer.sources.shipped import shipped

MINI = shipped("bundles") / "mega-asr-mini"


@pytest.fixture
def own(tmp_path):
    """Make a bundle of one's own from the miniature; return its folder."""
    composer.create(tmp_path / "my-asr")
    return tmp_path / "my-asr"


def test_a_copy_is_checked_and_runs(own, clips):
    assert composer.check(own).ok
    (found,) = composer.transcribe(own, list(clips)[:1])
    assert found.ok


def test_a_copy_overwrites_nothing(own):
    with pytest.raises(composer.ComposerError, match=r"R542 .*is not an empty folder"):
        composer.create(own)
    with pytest.raises(composer.ComposerError, match="S474"):
        composer.create(own / "x", like="mega-asr-min")


def test_a_lock_holds_what_was_there(own):
    steps = []
    made = composer.lock(own, progress=steps.append)
    assert made.path == own / "bundle.lock"
    (source,) = json.loads(made.path.read_text())["sources"].values()
    assert (made.sources, made.files) == (1, len(source["files"]))
    for name, file in source["files"].items():
        data = (own / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"])
    assert [step.stage for step in steps] == ["checking"]
    steps.clear()
    verdict = composer.verify(own, progress=steps.append)
    assert (verdict.problems, verdict.files, verdict.nbytes) == ((), made.files, made.nbytes)
    assert [step.stage for step in steps] == ["hashing"]


def test_what_differs_from_the_lock_is_found(own):
    composer.lock(own)
    path = next((own / "onnx").glob("*.onnx"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = composer.verify(own).problems
    assert {problem.code for problem in found} == {"S465"}
    assert hashlib.sha256(data).hexdigest()[:16] in found[0].causes[0]


def test_what_ships_is_not_locked_in_its_place(tmp_path):
    with pytest.raises(composer.ComposerError, match="R542 'mega-asr-mini' is not yours to lock"):
        composer.lock("mega-asr-mini")
    assert composer.lock("mega-asr-mini", output=tmp_path / "l.lock").path.is_file()
    with pytest.raises(composer.ComposerError, match="S464"):
        composer.verify("mega-asr-mini")


def test_licences_are_gathered():
    found = composer.licences("mega-asr-mini")
    assert found.bundle == "mega-asr-mini"
    assert found.stated[0].kind == "bundle"
    assert found.stated[0].licence


def test_the_catalogue_lists_what_ships():
    found = composer.catalogue()
    mini = {each.name: each for each in found.bundles}["mega-asr-mini"]
    assert "miniature" in mini.verified
    assert mini.summary
    assert all(entry.missing for entry in found.planned.values())


def test_nothing_is_pulled_for_a_bundle_that_is_here():
    assert composer.pull("mega-asr-mini") == composer.Pulled("mega-asr-mini", (), ())
    with pytest.raises(composer.ComposerError, match="R543"):
        composer.pull("mega-asr-mini", task="chat")


@pytest.fixture
def uploaded(monkeypatch):
    """Stand in for the upload; return what was uploaded."""
    seen = []

    def upload(publication, private):
        seen.append((sorted(publication.files), private))
        return "https://hub.example/me/my-asr"

    monkeypatch.setattr("composer.jobs.publish.upload", upload)
    return seen


def test_a_bundle_is_published(own, uploaded):
    steps = []
    (own / "notes.txt").write_text("mine")
    found = composer.publish(own, "me/my-asr", private=True, progress=steps.append)
    assert found.address == "https://hub.example/me/my-asr"
    assert {"bundle-1.schema.json", "notes.txt"} <= set(found.publication.left_out)
    ((names, private),) = uploaded
    assert private
    assert {"bundle.yaml", "bundle.lock", "README.md"} <= set(names)
    assert (own / "bundle.lock").is_file()
    assert [step.stage for step in steps] == ["checking", "uploading"]


def test_a_bundle_that_is_broken_is_not_published(own, uploaded):
    shutil.rmtree(own / "onnx")
    with pytest.raises(composer.ComposerError, match="S401"):
        composer.publish(own, "me/my-asr")
    for repository, folder in (("me/my-asr@main", own), ("me/my-asr", own / "bundle.yaml")):
        with pytest.raises(composer.ComposerError, match="R542"):
            composer.publish(folder, repository)
    assert uploaded == []


def test_a_diagnosis_covers_everything():
    found = list(composer.diagnose())
    sections = dict.fromkeys(each.section for each in found)
    assert [*sections][:4] == ["machine", "packages", "backends", "components"]
    assert any(each.text.startswith("ONNX Runtime") and each.ok for each in found)


def test_an_explanation_is_a_page():
    assert composer.explain("R543").startswith("# R543 ")
    with pytest.raises(composer.ComposerError, match="R545"):
        composer.explain("R999")

"""Publishing through Python alone, with a stand-in for the upload."""

import shutil

import pytest

import composer


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


def test_a_lock_that_came_with_the_folder_is_not_replaced(own, uploaded):
    mine = own / "bundle.lock"
    mine.write_bytes(composer.lock(own).path.read_bytes() + b"\n")
    before = mine.read_bytes()
    with pytest.raises(composer.ComposerError) as caught:
        composer.publish(own, "me/my-asr")
    assert str(caught.value).startswith(f"{mine}: R507 there is a file already")
    assert (uploaded, mine.read_bytes()) == ([], before)
    composer.publish(own, "me/my-asr", force=True)
    assert mine.read_bytes() == before[:-1]
    composer.publish(own, "me/my-asr")  # both are its own by then
    assert len(uploaded) == 2

"""`composer licences` and `composer publish`.

The test hub takes no uploads: a stub stands for the Hub's client, and what it was given is then
served by the test hub to a reader.
"""

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

import composer
from composer import Component, Facts, method
from composer.core import registry
from composer.core.ports import parse_port
from composer.manifest.entries import Input
from composer.publishing import modelcard
from composer.publishing.modelcard import MARK
from composer.sources.hub import settings
from mirror import Repository
from tests.sources.conftest import MINI
from tests.sources.locking import CARD, HUB, WEIGHTS, cli, lock, remote
from tests.sources.test_probe import BUNDLE, WithWeights, with_weights

__all__ = ["WithWeights", "cli", "remote", "with_weights"]

ABOUT = """\
summary: It weighs | and *says* so
licence: [Apache-2.0, Gemma]
provenance:
  - {what: weights, from: "hf:ann/base", how: trained, licence: Gemma}
  - {what: words, from: a book}
"""
NAMED = BUNDLE.replace("name: weighed\n", f"name: weighed\n{ABOUT}")


@pytest.fixture
def bundle(hub_home, tmp_path, monkeypatch):
    """Write a bundle into a folder of its own, the working folder."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "bundle.yaml").write_text(BUNDLE)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def uploads(monkeypatch):
    """Stand in for the Hub's client; keep what it is given."""
    import huggingface_hub

    given = {}

    class Stub:
        def __init__(self, endpoint):
            given["endpoint"] = endpoint

        def create_repo(self, repo, *, private, exist_ok):
            given["repo"] = (repo, private, exist_ok)

        def model_info(self, repo):
            return SimpleNamespace(sha="a" * 40)

        def create_commit(self, repo, operations, *, commit_message, parent_commit):
            assert parent_commit == "a" * 40
            given["files"] = {
                each.path_in_repo: each.path_or_fileobj
                if isinstance(each.path_or_fileobj, bytes)
                else Path(each.path_or_fileobj).read_bytes()
                for each in operations
            }

    monkeypatch.setattr(huggingface_hub, "HfApi", Stub)
    return given


def test_what_is_stated_is_gathered(remote, cli, tmp_path, new_process):
    (tmp_path / "bundle.yaml").write_text(HUB.replace("name: weighed\n", f"name: weighed\n{ABOUT}"))
    messages = (
        "The bundle, as its manifest states:\n"
        "  weighed  Apache-2.0 and Gemma\n\n"
        "Its parts, as the manifest states:\n"
        "  weights  Gemma       hf:ann/base; trained\n"
        "  words    not stated  a book\n\n"
        "Its sources, as their cards state:\n"
        "  hf:ann/tiny  apache-2.0  terms: https://example.org/terms\n\n"
        "These are the words of those who published; nothing is judged here. Read the terms.\n"
    )
    assert cli("licences", ".") == (0, messages, "")
    lock()
    new_process(offline=True)
    assert cli("licences", ".") == (0, messages, "")
    rows = json.loads(cli("licences", ".", "--json")[1])["stated"]
    assert rows[-1] == {
        "kind": "source", "name": "hf:ann/tiny", "licence": "apache-2.0",
        "details": ["terms: https://example.org/terms"], "unknown": None,
    }  # fmt: skip


def test_what_cannot_be_asked_is_unknown(remote, cli, new_process):
    new_process(offline=True)
    code, out, err = cli("licences", ".")
    assert (code, err) == (0, "")
    assert "  hf:ann/tiny  unknown: hf:ann/tiny is not in the cache, and HF_HUB_OFFLINE is set" in (
        out
    )


def test_a_gated_source_says_so(hub, hub_home, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub({"ann/tiny": Repository({"model.safetensors": WEIGHTS, "README.md": b"# No\n"},
                                gated="manual")})  # fmt: skip
    (tmp_path / "bundle.yaml").write_text(HUB)
    out = cli("licences", ".")[1]
    assert "hf:ann/tiny  not stated  access must be requested on the Hub (gated: manual)" in out


def test_a_dry_run_changes_nothing(bundle, cli, uploads):
    (bundle / "notes.txt").write_text("mine")
    code, out, err = cli("publish", ".", "ann/tiny")
    assert code == 0
    assert [line.split()[2:] for line in out.splitlines()[:-1]] == [
        ["README.md", "(made)"], ["bundle.lock", "(made)"], ["bundle.yaml"], ["model.safetensors"],
    ]  # fmt: skip
    assert out.splitlines()[-1].startswith("ann/tiny: 4 files, ")
    assert out.endswith("would be uploaded; --yes does it\n")
    assert err == "left out: notes.txt\n"
    assert uploads == {}
    assert sorted(path.name for path in bundle.iterdir() if path.is_file()) == [
        "bundle.yaml", "model.safetensors", "notes.txt",
    ]  # fmt: skip


def test_what_is_published_runs_by_its_id(bundle, cli, uploads, hub):
    (bundle / "bundle.yaml").write_text(NAMED)
    (bundle / "LICENSE").write_text("terms")
    code, out, _ = cli("publish", ".", "ann/tiny", "--yes", "--private")
    assert code == 0
    assert "uploaded, https://huggingface.co/ann/tiny" in out
    assert uploads["repo"] == ("ann/tiny", True, True)
    files = uploads["files"]
    assert sorted(files) == [
        "LICENSE", "README.md", "bundle.lock", "bundle.yaml", "model.safetensors",
    ]  # fmt: skip
    for name, data in files.items():
        assert (bundle / name).read_bytes() == data
    hub({"ann/tiny": files})
    assert composer.check("ann/tiny").problems == ()
    with composer.load("ann/tiny", trust=True) as loaded:
        assert loaded.checked.lock
        assert loaded.run(line="yes").text == "YES"
    assert cli("verify", "ann/tiny")[0] == 0


def test_the_card(bundle, cli):
    (bundle / "bundle.yaml").write_text(NAMED)
    code, out, err = cli("publish", ".", "ann/tiny", "--card")
    assert (code, err) == (0, "")
    assert out.startswith(
        "---\nlicense: other\nlicense_name: Apache-2.0 and Gemma\nlibrary_name: bundle-composer\n"
        f"pipeline_tag: text-generation\n---\n{MARK}\n\n# weighed\n\n"
        "It weighs \\| and \\*says\\* so\n"
    )
    assert "composer run ann/tiny -i line=...\n" in out
    assert "```mermaid\nflowchart TD\n" in out
    assert "- the whole: Apache-2.0 and Gemma\n- weights: Gemma; hf:ann/base; trained\n" in out
    assert "- words: not stated; a book\n" in out


def test_an_own_readme_is_kept(bundle, cli, uploads):
    (bundle / "README.md").write_text("# Mine\n")
    cli("publish", ".", "ann/tiny", "--yes")
    assert uploads["files"]["README.md"] == b"# Mine\n"
    (bundle / "README.md").write_text(f"{MARK}\nold\n")
    cli("publish", ".", "ann/tiny", "--yes")
    assert b"old" not in uploads["files"]["README.md"]


def test_a_link_out_of_the_folder_is_refused(bundle, cli, uploads):
    inner = bundle / "inner"
    inner.mkdir()
    (inner / "bundle.yaml").write_text(BUNDLE)
    (inner / "model.safetensors").symlink_to(bundle / "model.safetensors")
    code, out, err = cli("publish", inner, "ann/tiny", "--yes")
    assert (code, out, uploads) == (3, "", {})
    assert "leads out of" in err


class Reader(Component, name="fake.reader"):
    """A component that reads a kind of file which nobody downloads."""

    requires = frozenset({"files"})

    @classmethod
    def facts(cls, spec, headers):
        if headers:
            headers.files.open(spec.files).__exit__()
        return Facts()

    @method(text="text", returns="text")
    def __call__(self, text):
        return text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("words.bin", "'.bin' is a type of file that is never downloaded"),
        ("words.py", "'.py' is a type of file that is never downloaded"),
        ("con.json", "Windows reserves it"),
    ],
)
def test_what_others_cannot_fetch_is_refused(hub_home, cli, uploads, tmp_path, name, why):
    registry.register_component(Reader)
    try:
        text = BUNDLE.replace("fake.weighed, weights: own/model.safetensors",
                              f"fake.reader, files: own/{name}")  # fmt: skip
        (tmp_path / "bundle.yaml").write_text(text)
        (tmp_path / name).write_bytes(b"{}")
        code, out, err = cli("publish", tmp_path, "ann/tiny", "--yes")
    finally:
        registry.unregister_component("fake.reader")
    assert (code, out, uploads) == (3, "", {})
    assert f"bundle.yaml:5:3: S468 {name} could not be fetched by others: {why}\n" in err


def test_a_broken_bundle_is_not_published(bundle, cli, uploads):
    (bundle / "bundle.yaml").write_text(BUNDLE.replace("$line", "$siad"))
    code, out, err = cli("publish", ".", "ann/tiny", "--yes")
    assert (code, out, uploads) == (3, "", {})
    assert "W206" in err


def test_what_the_hub_refuses(bundle, cli, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    def failing(error):
        class Stub:
            def __init__(self, endpoint):
                pass

            def create_repo(self, repo, **_):
                raise error

        monkeypatch.setattr(huggingface_hub, "HfApi", Stub)
        return cli("publish", ".", "ann/tiny", "--yes")

    class Response:
        headers = {}  # noqa: RUF012
        request = None

        def __init__(self, status_code):
            self.status_code = status_code

    hint = "log in with a token that may write (hf auth login), and use a name that is yours"
    code, _, err = failing(LocalTokenNotFoundError("none"))
    assert (code, err) == (
        3, f"S469 the Hub refuses to take ann/tiny: no token is stored here\n    hint: {hint}\n",
    )  # fmt: skip
    code, _, err = failing(HfHubHTTPError("Forbidden", response=Response(403)))
    assert code == 3
    assert err.startswith("S469 the Hub refuses to take ann/tiny: status 403: Forbidden")
    assert failing(HfHubHTTPError("Oh", response=Response(502)))[0] == 4
    assert failing(ConnectionError("no route"))[0] == 4
    lost = httpx2.ConnectError("no route")  # what the Hub's client raises, and no OSError
    code, _, err = failing(lost)
    assert (code, err) == (4, f"S490 cannot upload to {settings.endpoint()}: no route\n")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = cli("publish", ".", "ann/tiny", "--yes")
    assert (code, err) == (4, "S499 HF_HUB_OFFLINE is set, and ann/tiny cannot be uploaded\n")


def test_a_card_of_the_hub_that_is_strange(remote, cli):
    _, repository = remote
    repository.push(
        {"model.safetensors": WEIGHTS, "README.md": CARD.replace(b"apache-2.0", b"[a, 3]")}
    )
    assert "  hf:ann/tiny  a  terms: " in cli("licences", ".")[1]


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")
def test_a_repository_that_exists_takes_the_next_version(bundle, cli, hub, hub_home, monkeypatch):
    """With the real client, against the mirror."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    mirror = hub({}, tokens={"good": ["ann/tiny"]})
    monkeypatch.setenv("HF_TOKEN", "good")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", mirror.url)
    assert cli("publish", ".", "ann/tiny", "--yes")[0] == 0
    first = mirror.repositories["ann/tiny"].commit()
    (bundle / "LICENSE").write_text("terms")
    code, out, err = cli("publish", ".", "ann/tiny", "--yes")
    assert (code, "Traceback" in err) == (0, False)
    assert "uploaded, " in out
    assert mirror.repositories["ann/tiny"].commit() != first
    assert mirror.repositories["ann/tiny"].files()["LICENSE"]


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")
def test_of_two_that_publish_at_once_one_is_refused(bundle, hub, hub_home, tmp_path, monkeypatch):
    """Both have seen the same commit: what the first one uploads is not mixed with the second's."""
    import huggingface_hub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    mirror = hub({}, tokens={"good": ["ann/tiny"]})
    monkeypatch.setenv("HF_TOKEN", "good")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", mirror.url)
    both = threading.Barrier(2)
    model_info = huggingface_hub.HfApi.model_info

    def seen_by_both(*arguments):
        found = model_info(*arguments)
        both.wait(60)
        return found

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", seen_by_both)
    other = shutil.copytree(bundle, tmp_path / "other")
    (other / "LICENSE").write_text("terms")
    refused = {}

    def publish(folder):
        try:
            composer.publish(folder, "ann/tiny")
        except composer.ComposerError as error:
            refused[folder] = str(error)

    threads = [threading.Thread(target=publish, args=(each,)) for each in (bundle, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lost,) = refused
    assert refused[lost].startswith(
        "S469 the Hub refuses to take ann/tiny: another commit came in between\n"
        "    hint: look at what is there now, then publish again"
    )
    assert len(mirror.repositories["ann/tiny"].commits) == 2  # the empty one, and the winner's
    assert ("LICENSE" in mirror.repositories["ann/tiny"].files()) == (lost == bundle)
    assert not (lost / "bundle.lock").exists()


@pytest.mark.parametrize("error", [KeyError("url"), ValueError("no JSON"), TypeError("a list")])
def test_an_answer_that_is_none_is_reported(bundle, cli, monkeypatch, error):
    import huggingface_hub

    class Strange:
        def __init__(self, endpoint):
            pass

        def create_repo(self, repo, **_):
            raise error

    monkeypatch.setattr(huggingface_hub, "HfApi", Strange)
    code, _, err = cli("publish", ".", "ann/tiny", "--yes")
    assert code == 4
    assert "S495 the Hub answers otherwise than the client expects" in err


def test_the_tokenizers_config_is_uploaded_with_it(cli, uploads, tmp_path, monkeypatch, hub_home):
    """Nothing here reads it; other runtimes that load the repository do."""
    folder = tmp_path / "mini"
    shutil.copytree(MINI, folder, ignore=shutil.ignore_patterns("clips"))
    (folder / "tokenizer" / "tokenizer_config.json").write_text("{}")
    monkeypatch.chdir(folder)
    assert cli("publish", ".", "ann/mini", "--yes")[0] == 0
    assert uploads["files"]["tokenizer/tokenizer_config.json"] == b"{}"
    assert "tokenizer/tokenizer.json" in uploads["files"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "tag"),
    [
        ({"audio": "audio"}, {"text": "text"}, "automatic-speech-recognition"),
        ({"audio": "audio", "ask": "text"}, {"text": "text"}, "audio-text-to-text"),
        ({"ask": "text"}, {"text": "text"}, "text-generation"),
        ({"picture": "image", "ask": "text"}, {"text": "text"}, "image-text-to-text"),
        ({"audio": "audio"}, {"rows": "f32 N D"}, "feature-extraction"),
        ({"ids": "ids"}, {"rows": "f32 N D"}, None),
    ],
)
def test_the_pipeline_tag_follows_the_ports(inputs, outputs, tag):
    values = {name: SimpleNamespace(port=parse_port(text)) for name, text in outputs.items()}
    entries = {name: Input(type) for name, type in inputs.items()}
    outputs = {name: name for name in outputs}
    graph = SimpleNamespace(inputs=entries, outputs=outputs, values=values)
    assert modelcard._kind(graph) == tag

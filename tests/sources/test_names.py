"""What a user calls a bundle: a path, a shipped name, an ID of the Hub, in this order."""

import pytest

import composer
from composer.sources import resolve as names
from composer.sources import shipped
from composer.sources.resolve import ResolvedBundle, find_bundle
from mirror import Fault, Repository
from tests.fakes import BUNDLE, write
from tests.sources.conftest import refusal

pytestmark = pytest.mark.usefixtures("fakes")

MANIFEST = BUNDLE.encode()
RECIPE = """\
composer: 1
name: NAME
publishes: [ann/weights, ann/small]
sources: {repo: "hf:ann/weights"}
components: {echo: {use: fake.upper}}
variants: {small: {sources: {repo: "hf:ann/small"}}}
inputs: {line: text}
graph: {heard: {run: echo, with: {text: $line}}}
outputs: {text: $heard}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """Ship bundles of these names, all covering the same repositories."""

    def ship(*called):
        made = {}
        for name in called:
            made[name] = tmp_path / f"{name}.yaml"
            made[name].write_text(RECIPE.replace("NAME", name))
        for module in (names, shipped):
            monkeypatch.setattr(module, "shipped_bundles", lambda: made)

    return ship


def test_a_path_comes_before_all_else(hub, here):
    hub({"ann/tiny": {"bundle.yaml": MANIFEST}})
    (here / "ann").mkdir()
    write(here / "ann", BUNDLE).rename(here / "ann" / "tiny")
    assert find_bundle("ann/tiny").path.resolve() == here / "ann" / "tiny"
    assert "snapshots" in str(find_bundle("hf:ann/tiny").path)


def test_a_manifest_of_the_hub(hub, hub_home):
    mirror = hub({"ann/tiny": {"bundle.yaml": MANIFEST, "model.bin": b"x"}})
    found = find_bundle("ann/tiny")
    commit = mirror.repositories["ann/tiny"].commit()
    assert found.path == hub_home / f"hub/models--ann--tiny/snapshots/{commit}/bundle.yaml"
    assert find_bundle(found) is found
    report = composer.check("ann/tiny")
    assert [str(problem) for problem in report.problems] == []
    assert report.bundle.manifest.name == "fake-asr"
    assert composer.check("hf:ann/tiny@main").ok
    assert mirror.requests_of(".bin") == []


def test_a_manifest_in_json(hub):
    hub({"ann/tiny": {"bundle.json": b'{"composer": 1}'}})
    assert find_bundle("ann/tiny").path.name == "bundle.json"


def test_a_revision_of_the_hub(hub):
    repository = Repository({"bundle.yaml": MANIFEST})
    repository.push({"bundle.yaml": MANIFEST.replace(b"fake-asr", b"older")}, ref="v1")
    hub({"ann/tiny": repository})
    assert composer.check("ann/tiny@v1").bundle.manifest.name == "older"
    assert composer.check("ann/tiny").bundle.manifest.name == "fake-asr"


def test_sources_of_a_manifest_of_the_hub_are_its_own_files(hub):
    text = BUNDLE.replace("components:", "sources: {own: ./, no: ./nothing}\ncomponents:", 1)
    hub({"ann/tiny": {"bundle.yaml": text.encode(), "llm/config.json": b"{}"}})
    (found,) = composer.check("ann/tiny").problems
    assert found.code == "S477"
    assert found.message == "the folder of source 'no' does not exist: ./nothing"
    assert found.hint.endswith("holds bundle.yaml, llm")


def test_a_repository_without_a_manifest(hub):
    hub({"ann/weights": {"model.safetensors": b"x", "README.md": b"x"}})
    (found,) = refusal(find_bundle, "ann/weights")
    head, *causes = found.splitlines()
    assert head.startswith("S456 hf:ann/weights@")
    assert head.endswith("is not a bundle: it has no bundle.yaml, and no shipped bundle covers it")
    assert causes == [
        "    tried a file or folder here: there is none",
        "    tried a bundle that ships: there is none",
        "    it has README.md, model.safetensors",
        "    hint: write one: composer new DIR, with the source hf:ann/weights",
    ]


def test_two_manifests(hub):
    hub({"ann/tiny": {"bundle.yaml": MANIFEST, "bundle.json": b"{}"}})
    assert "has both bundle.yaml and bundle.json" in refusal(find_bundle, "ann/tiny")[0]


def test_a_manifest_that_is_none(hub, monkeypatch):
    mirror = hub({"ann/tiny": {"bundle.yaml": b"x" * 300_000}})
    (found,) = refusal(find_bundle, "ann/tiny")
    assert found.startswith("S416 ")
    assert mirror.requests_of("/resolve/") == []


def test_a_repository_that_a_shipped_bundle_covers(hub, recipes):
    recipes("recipe")
    hub({"ann/weights": {"model.safetensors": b"x"}, "ann/small": {"model.safetensors": b"y"}})
    assert find_bundle("ann/weights").variant is None
    found = find_bundle("ann/small")
    assert (found.path.stem, found.variant) == ("recipe", "small")
    report = composer.check("ann/small")
    assert report.bundle.manifest.variant == "small"
    assert report.ok


def test_what_a_shipped_bundle_covers_is_found_without_the_hub(hub, recipes, new_process):
    recipes("recipe")
    hub({})
    new_process(offline=True)
    assert find_bundle("ann/weights") == ResolvedBundle(shipped_path("recipe"))


def shipped_path(name):
    return names.shipped_bundles()[name]


def test_an_own_manifest_comes_before_a_shipped_one(hub, recipes):
    recipes("recipe")
    hub({"ann/weights": {"bundle.yaml": MANIFEST}})
    assert "snapshots" in str(find_bundle("ann/weights").path)


def test_two_shipped_bundles_cover_it(hub, recipes):
    recipes("one", "two")
    hub({"ann/weights": {"model.safetensors": b"x"}})
    assert refusal(find_bundle, "ann/weights") == [
        "S457 several shipped bundles cover hf:ann/weights: one, two\n    hint: name one of them"
    ]


def test_a_revision_of_what_a_shipped_bundle_covers(hub, recipes):
    recipes("recipe")
    hub({"ann/weights": {"model.safetensors": b"x"}})
    (found,) = refusal(find_bundle, "ann/weights@main")
    assert found.startswith("S457 ")
    assert found.endswith("hint: leave @main out")


def test_unknown_ids(hub, recipes):
    recipes("recipe")
    hub({"ann/weights": {"model.safetensors": b"x"}})
    (found,) = refusal(find_bundle, "ann/weihgts")
    assert found.startswith("S491 ")
    assert "    tried a file or folder here: there is none\n" in found
    assert found.endswith("hint: did you mean 'ann/weights'?")
    (found,) = refusal(find_bundle, "recipee")
    assert found.startswith("S474 there is no bundle 'recipee': neither a file")
    assert found.endswith("hint: did you mean 'recipe'?")


def test_a_source_that_is_not_there(hub, here):
    hub({})
    text = BUNDLE.replace("components:", "sources: {repo: hf:ann/gone}\ncomponents:", 1)
    report = composer.check(write(here, text))
    (found,) = report.problems
    assert (found.code, found.place.line) == ("S491", 4)
    assert not report.ok


def test_offline_a_source_that_is_not_here_is_a_warning(hub, here, new_process):
    hub({})
    new_process(offline=True)
    text = BUNDLE.replace("components:", "sources: {repo: hf:ann/gone}\ncomponents:", 1)
    report = composer.check(write(here, text))
    (found,) = report.problems
    assert (found.code, found.severity) == ("S476", "warning")
    assert report.ok


def test_offline_with_what_another_tool_fetched(hub, hub_home, new_process):
    from huggingface_hub import snapshot_download

    mirror = hub({"ann/tiny": {"bundle.yaml": MANIFEST, "llm/config.json": b"{}"}})
    snapshot_download(
        "ann/tiny", allow_patterns="llm/*", cache_dir=hub_home / "hub", endpoint=mirror.url
    )
    new_process(offline=True)
    (found,) = refusal(find_bundle, "ann/tiny")
    assert found.startswith("S499 the bundle.yaml of hf:ann/tiny is not in the cache\n")


def test_the_hub_is_not_asked_twice_when_it_is_down(hub, here):
    mirror = hub({})
    mirror.faults["/info"] = Fault(status=500)
    text = BUNDLE.replace("components:", "sources: {repo: hf:ann/gone}\ncomponents:", 1)
    text += "variants: {one: {summary: x}, two: {summary: y}}\n"
    composer.check(write(here, text))
    assert len(mirror.requests) == 4

"""What the catalogue claims of each bundle is true."""

import ast
import json
import sys
from pathlib import Path

import pytest

import composer
from composer.checker import check_variant
from composer.cli import main
from composer.core.errors import ComposerError
from composer.graph.files import component_files
from composer.manifest import read_manifest
from composer.manifest.source import read_document_file
from composer.sources import catalogue as catalogues
from composer.sources.catalogue import Catalogue, PlannedSystem, catalogue
from composer.sources.default_manifests import default_manifests
from composer.sources.hub import is_id, parse_id, split_file_part
from composer.sources.resolve import find_bundle
from composer.sources.shipped import CATALOGUE, shipped_bundles, shipped_folder
from tests import releases, replica

ROOT = Path(__file__).parent.parent
BITS = {None: 4, "bits8": 8, "bf16": None}
# What a release of Gemma-4 stores beside its text decoder is told of, and left out.
EXPECTED = {"L325", "L326"}

GOLDEN = {
    "gemma-4-e2b-gguf": (
        "reference/test_crispasr.py",
        "test_the_shipped_bundle_transcribes_as_transformers_does",
    ),
    "elderwise": ("reference/test_elderwise.py", "test_every_stage_is_that_of_the_reference"),
    "mega-asr-1-7b": (
        "reference/test_mega_asr.py",
        "test_every_stage_is_that_of_transformers",
    ),
    "mega-asr-onnx": ("sources/test_mega_asr_onnx.py", "test_it_is_checked_run_and_locked"),
    "qwen3-asr-0-6b": (
        "reference/test_qwen3_asr_released.py",
        "test_every_stage_is_that_of_transformers",
    ),
    "qwen3-asr-1-7b": (
        "reference/test_qwen3_asr_released.py",
        "test_every_stage_is_that_of_transformers",
    ),
    "qwen3-forced-aligner-0-6b": (
        "reference/test_forced_aligner.py",
        "test_every_stage_is_that_of_transformers",
    ),
    **dict.fromkeys(
        ["meralion-2-3b", "meralion-2-10b", "meralion-3-10b"],
        ("reference/test_meralion.py", "test_every_stage_is_that_of_transformers"),
    ),
    **dict.fromkeys(
        ["gemma-4-e2b", "gemma-4-e4b"],
        ("reference/test_gemma4_audio.py", "test_every_stage_is_that_of_transformers"),
    ),
    **dict.fromkeys(
        ["gemma-4-26b-a4b", "gemma-4-31b"],
        ("components/test_gemma4_bundles.py", "test_a_conversation_is_that_of_transformers"),
    ),
}
MINIATURE = {
    "aligner-mini": "test_training_aligner.py",
    "elderwise-mini": "test_training_elderwise.py",
    "mega-asr-mini": "cli/test_mini.py",
}


def assert_sizes(name, folder):
    """Compare what the catalogue says of a bundle's files and backends with its layout."""
    status = catalogue().bundles[name]
    for backend in (None, *status.memory):
        asked = {"*": backend} if backend else None
        found = composer.check(name, sources={"repo": folder}, backends=asked)
        components = found.bundle.components
        files = {str(file): file for each in components.values() for file in component_files(each)}
        nbytes = sum(file.path.stat().st_size for file in files.values())
        assert abs(nbytes - status.bytes) < 1e7
        for component, expected in status.backends.items():
            assert components[component].cls.name.startswith(f"{expected}.")
        if backend:
            taken = sum(each.facts.nbytes for each in components.values())
            assert abs(taken - status.memory[backend]) < 1e7


def claiming(claim):
    entries = catalogue().bundles.items()
    return {name for name, entry in entries if claim in entry.verified}


def test_every_bundle_that_ships_is_in_the_catalogue():
    assert set(catalogue().bundles) == set(shipped_bundles())


def test_golden_claims_have_their_tests():
    assert claiming("golden") == set(GOLDEN)
    for file, test in GOLDEN.values():
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_miniatures_ship_their_weights():
    assert claiming("miniature") == set(MINIATURE)
    for name, test in MINIATURE.items():
        report = composer.check(name)
        # one checkpoint of the release's layout, of which each component reads its part
        notes = {"L325"} if name == "aligner-mini" else set()
        assert {problem.code for problem in report.problems} == notes
        assert any(known.facts.nbytes for known in report.bundle.components.values())
        assert name in (ROOT / "tests" / test).read_text()


def test_layout_claims_are_those_tested_here():
    assert claiming("layout") == {
        *(f"gemma-4-{size}" for size in releases.SIZES),
        *(f"meralion-{name}" for name in releases.GEMMA2),
        "elderwise", "mega-asr", "mega-asr-1-7b", "qwen3-asr-0-6b", "qwen3-asr-1-7b",
        "qwen3-forced-aligner-0-6b",
    }  # fmt: skip


def test_the_layout_of_mega_asr_with_its_router(tmp_path):
    folder = releases.mega_asr(tmp_path / "repo")
    found = composer.check("mega-asr-1-7b", sources={"repo": folder})
    assert found.problems == ()
    assert_sizes("mega-asr-1-7b", folder)
    router = found.bundle.components["router"].facts
    assert router.nbytes == pytest.approx(4 * 1.17e6, rel=0.2)  # 1.17 M with its positions or not


@pytest.mark.parametrize("variant", BITS)
@pytest.mark.parametrize("size", releases.SIZES)
def test_the_layout_of_gemma_4(size, variant, tmp_path):
    folder = releases.gemma4(tmp_path / "repo", size, BITS[variant])
    found = composer.check(f"gemma-4-{size}", variant=variant, sources={"repo": folder})
    if variant is None:  # the other variants are of other precisions, and as well formed
        assert found.ok
        assert_sizes(f"gemma-4-{size}", folder)
    assert {problem.code for problem in found.problems} <= EXPECTED
    facts = found.bundle.components["decoder"].facts
    dims = {symbol: bound.value for symbol, bound in facts.dims.items()}
    expected = releases.SIZES[size]
    assert dims["D"] == expected.hidden
    if expected.per_layer:
        speech = found.bundle.components["speech"].facts
        assert {symbol: bound.value for symbol, bound in speech.dims.items()} == {
            "M": 128, "D": expected.hidden,
        }  # fmt: skip
    assert dims.get("L") == (expected.layers if expected.per_layer else None)
    seen = found.bundle.components["vision"].facts
    assert {symbol: bound.value for symbol, bound in seen.dims.items()} == {
        "P": 768, "D": expected.hidden,
    }  # fmt: skip


@pytest.mark.parametrize(("size", "tensors"), [("e2b", 658), ("31b", 355)])
def test_the_vision_tower_has_as_many_tensors_as_released(size, tensors):
    names = releases.vision_tower(releases.SIZES[size])
    assert sum(name.startswith("vision_tower.") for name in names) == tensors


def test_a_layout_that_differs_is_refused(tmp_path):
    folder = releases.gemma4(tmp_path / "repo", "e2b", 4)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"num_kv_shared_layers": 20', '"x": 20'))
    found = composer.check("gemma-4-e2b", variant="bits8", sources={"repo": folder})
    assert not found.ok


@pytest.mark.parametrize(("size", "width", "inner"), [("0-6b", 1024, 3072), ("1-7b", 2048, 6144)])
def test_the_layout_of_qwen3_asr(size, width, inner, tmp_path):
    folder = releases.qwen3_asr(tmp_path, width, inner)
    found = composer.check(f"qwen3-asr-{size}", sources={"repo": folder})
    assert [problem.code for problem in found.problems] == ["L325", "L333"]  # the head too
    assert_sizes(f"qwen3-asr-{size}", folder)
    for name in ("encoder", "decoder"):
        assert found.bundle.components[name].facts.dims["D"].value == width


def test_the_layout_of_qwen3_forced_aligner(tmp_path):
    folder = releases.forced_aligner(tmp_path)
    assert_sizes("qwen3-forced-aligner-0-6b", folder)
    for bundle in ("qwen3-forced-aligner-0-6b", folder):
        found = composer.check(bundle, sources={"repo": folder})
        assert [problem.code for problem in found.problems] == ["L325"]
        dims = found.bundle.components["head"].facts.dims
        assert {symbol: bound.value for symbol, bound in dims.items()} == {"I": 1024, "O": 5000}
        assert find_bundle(folder).path.stem == "qwen3-forced-aligner"


@pytest.mark.parametrize("name", releases.GEMMA2)
def test_the_layout_of_meralion(name, tmp_path):
    folder = releases.meralion(tmp_path / "repo", name)
    found = composer.check(f"meralion-{name}", sources={"repo": folder})
    assert [problem.code for problem in found.problems] == ["L311", "L325"]
    assert_sizes(f"meralion-{name}", folder)
    for component in ("speech", "decoder"):
        dims = found.bundle.components[component].facts.dims
        assert releases.GEMMA2[name][0] in {bound.value for bound in dims.values()}


@pytest.mark.parametrize("variant", [None, "small"])
def test_the_layout_of_mega_asr(variant, tmp_path):
    folder = replica.mega_asr(tmp_path / "repo")
    assert composer.check("mega-asr", variant=variant, sources={"repo": folder}).problems == ()


def elderwise(folder):
    replica.elderwise(folder)
    replica.tokenizer(folder / "decoder", releases.GEMMA_SPECIALS)
    return folder


@pytest.mark.parametrize("variant", [None, "bits8"])
def test_the_layout_of_elderwise(variant, tmp_path):
    folder = elderwise(tmp_path / "repo")
    found = composer.check("elderwise", variant=variant, sources={"repo": folder})
    assert found.ok
    assert_sizes("elderwise", folder)
    assert {problem.code for problem in found.problems} <= EXPECTED


def test_a_release_is_the_decoder_of_a_composition(tmp_path):
    """Elderwise's encoder and projector before FakeRockert543's 4-bit decoder."""
    text = shipped_bundles()["elderwise"].read_text()
    text = text.replace("\ncomponents:", "\n  gemma: ./gemma\n\ncomponents:", 1)
    text = text.replace("weights: repo/decoder", "weights: gemma")
    text = text.replace("files: repo/decoder", "files: gemma").replace(
        "    precision: bfloat16\n", ""
    )
    (tmp_path / "bundle.yaml").write_text(text)
    releases.gemma4(tmp_path / "gemma", "e4b", 4)
    folder = elderwise(tmp_path / "repo")
    found = check_variant(tmp_path, None, sources={"repo": folder})
    assert [str(problem) for problem in found.problems if problem.code not in EXPECTED] == []


# Names


@pytest.mark.parametrize("size", releases.SIZES)
@pytest.mark.parametrize(("precision", "variant"), [("4bit", None), ("8bit", "bits8"),
                                                    ("bf16", "bf16")])  # fmt: skip
def test_every_release_is_run_by_its_id(size, precision, variant, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = find_bundle(f"FakeRockert543/gemma-4-{size}-it-MLX-{precision}")
    assert (found.path.stem, found.variant) == (f"gemma-4-{size}", variant)


@pytest.fixture
def planned(monkeypatch):
    """Let a system be planned; at present none is."""
    entry = PlannedSystem(
        summary="Speech to text by a model to come", missing=["its decoder", "its encoder"],
        instead="gemma-4-e4b", publishes=["ann/model-to-come"],
    )  # fmt: skip
    found = catalogue().model_copy(update={"planned": {"model-to-come": entry}})
    monkeypatch.setattr(catalogues, "catalogue", lambda: found)
    catalogues._planned.cache_clear()
    yield
    catalogues._planned.cache_clear()


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("model-to-come", "'model-to-come' is planned and does not run yet: Speech"),
        ("hf:ann/model-to-come", "missing: its decoder"),
        ("ann/model-to-come", "missing: its encoder"),
    ],
)
def test_what_is_planned_says_so(name, messages, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ComposerError) as caught:
        find_bundle(name)
    (problem,) = caught.value.problems
    assert (problem.code, caught.value.exit_code) == ("S467", 3)
    assert messages in str(problem)


def test_no_planned_name_is_taken():
    planned, bundles = catalogue().planned, shipped_bundles()
    assert not planned.keys() & bundles.keys()
    covered = {repo for path in bundles.values() for repo in read_manifest(path).publishes}
    assert not covered & {repo for entry in planned.values() for repo in entry.publishes}


@pytest.mark.usefixtures("planned")
def test_the_list_shows_what_is_verified_and_what_is_planned(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(["list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, entry in catalogues.catalogue().planned.items():
        missing = "; ".join(entry.missing)
        assert f"planned: {name}, {entry.summary} (missing: {missing})" in shown
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows["bundles"]] == list(shipped_bundles())
    for row in rows["bundles"]:
        assert row["verified"] == catalogue().bundles[row["name"]].verified
    assert [row["name"] for row in rows["planned"]] == ["model-to-come"]


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("command", ["run", "check", "plan", "chat", "show", "pull"])
def test_every_command_refuses_what_is_planned(command, capsys):
    assert main([command, "model-to-come"]) == 3
    assert capsys.readouterr().err.startswith("S467 'model-to-come' is planned ")


def test_the_catalogue_is_strict():
    data = read_document_file(shipped_folder("bundles") / CATALOGUE).data
    assert Catalogue.model_validate(data) == catalogue()
    for wrong in ({"bundles": {"x": {"verified": ["said"]}}, "planned": {}}, {**data, "more": 1}):
        with pytest.raises(ValueError, match="validation error"):
            Catalogue.model_validate(wrong)


def test_a_broken_shipped_manifest_is_not_hidden(tmp_path, monkeypatch):
    from composer.core.errors import ComposerError
    from composer.sources import shipped as module

    broken = tmp_path / "broken.yaml"
    broken.write_text("composer: 1\nname: [")
    monkeypatch.setattr(module, "shipped_bundles", lambda: {"broken": broken})
    with pytest.raises(ComposerError, match=r"broken\.yaml"):
        module.published_bundles()


def test_every_default_manifest_is_in_the_catalogue():
    assert set(catalogue().families) == set(default_manifests())


@pytest.mark.parametrize("id", [id for each in catalogue().families.values() for id in each.ids])
def test_ids_of_families_are_ids_of_the_hub(id):
    assert is_id(id)
    text, _ = split_file_part(id)
    assert parse_id(text).revision is None


def test_families_are_listed(capsys):
    assert main(["list", "--families"]) == 0
    text = capsys.readouterr().out
    for name, family in catalogue().families.items():
        assert f"{name}\n  " in text
        assert ", ".join(family.ids) in text
    assert main(["list", "--families", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == [*default_manifests()]
    assert main(["list", "--families", "--components"]) == 2

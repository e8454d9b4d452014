"""Broken variants of the two example bundles, each with exactly its messages."""

from dataclasses import replace
from pathlib import Path

import pytest

import composer
from composer.core.quantization_recipe import QuantizationRecipe
from composer.manifest.recipes import recipes
from tests import replica

HERE = Path(__file__).parent
TABLE = HERE / "broken_bundles.txt"


def cases():
    """Read the table: the manifest, what is replaced, what replaces it, and the words."""
    for block in TABLE.read_text().split("=== ")[1:]:
        manifest, old, new, *messages = block.splitlines()
        old, new = (line[2:].replace("\\n", "\n").replace("\\\n", "\\n") for line in (old, new))
        yield pytest.param(
            manifest, old, new, "\n".join(messages).rstrip(), id=f"{manifest}: {new}"
        )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    mega = replica.mega_asr(folder / "mega-asr")
    replica.qwen3(mega / "mlx" / "narrow", width=1024)
    return {"mega-asr": mega, "elderwise": replica.elderwise(folder / "elderwise")}


def messages_of(manifest, text, sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bundle.yaml").write_text(text)
    report = composer.check("bundle.yaml", sources={"repo": sources[manifest]})
    return "\n".join(map(str, report.problems))


@pytest.mark.parametrize(("manifest", "old", "new", "messages"), list(cases()))
def test_a_broken_bundle(manifest, old, new, messages, sources, tmp_path, monkeypatch):
    text = (HERE / "manifests" / f"{manifest}.yaml").read_text()
    assert old in text
    assert (
        messages_of(manifest, text.replace(old, new, 1), sources, tmp_path, monkeypatch) == messages
    )


def test_there_are_sixty_of_them():
    assert len(list(cases())) >= 60


@pytest.mark.parametrize("manifest", ["mega-asr", "elderwise"])
def test_the_examples_are_sound(manifest, sources, tmp_path, monkeypatch):
    text = (HERE / "manifests" / f"{manifest}.yaml").read_text()
    assert messages_of(manifest, text, sources, tmp_path, monkeypatch) == ""
    absent = composer.check("bundle.yaml")
    assert absent.ok
    assert [problem.code for problem in absent.problems] == ["S476"]


def test_dims_are_bound_from_headers(sources):
    path = HERE / "manifests" / "elderwise.yaml"
    graph = composer.check(path, sources={"repo": sources["elderwise"]}).bundle.graphs["default"]
    lengths = {name: [graph.length(d) for d in v.dims] for name, v in graph.values.items()}
    assert lengths["mel"] == [128, None]
    assert lengths["heard"] == [None, 3584]
    assert lengths["soft"] == [None, 2560]
    assert lengths["embeds"] == [None, 2560]
    assert lengths["per_layer"] == [None, 42, 256]
    values = graph.values
    assert values["soft"].port.space == values["embeds"].port.space == "decoder.embed"
    assert [values[v].port.dtype for v in ("mel", "heard", "soft", "words")] == [
        "f32", "f16", "f32", "bf16"
    ]  # fmt: skip


def test_a_dtype_and_a_recipe_of_the_user_replace_only_their_like(sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (HERE / "manifests" / "elderwise.yaml").read_text()
    assert "precision: bfloat16" in text
    recipe = "{bits: 8, dtype: float32}"
    Path("bundle.yaml").write_text(text.replace("precision: bfloat16", f"precision: {recipe}"))

    def precision(asked):
        report = composer.check(
            "bundle.yaml", sources={"repo": sources["elderwise"]}, precision={"decoder": asked}
        )
        assert not report.problems
        return report.bundle.components["decoder"].spec.precision

    eight = QuantizationRecipe(8, dtype="float32")
    four = recipes()["ple-safe-4bit"].quantization
    assert precision("float16") == replace(eight, dtype="float16")
    assert precision("ple-safe-4bit") == replace(four, dtype="float32")
    assert precision("ple-safe-4bit,bfloat16") == replace(four, dtype="bfloat16")
    assert precision("stored") == "float32"
    assert precision("float16, stored") == "float16"
    assert precision(QuantizationRecipe(6)) == QuantizationRecipe(6, dtype="float32")


def test_a_precision_that_says_nothing_is_refused(sources):
    path = HERE / "manifests" / "elderwise.yaml"
    asked = {"decoder": "mixed-84", "speech": "float16,float32"}
    report = composer.check(path, sources={"repo": sources["elderwise"]}, precision=asked)
    assert sorted(map(str, report.problems)) == [
        "W219 precision of 'decoder': 'mixed-84' is neither a dtype nor a recipe; "
        "did you mean 'mixed-8-4'?",
        "W219 precision of 'speech': 'float32' is one too many: give a recipe, a dtype, or one "
        "of each",
    ]


def test_all_problems_come_at_once_in_file_order(sources, tmp_path, monkeypatch):
    text = (HERE / "manifests" / "elderwise.yaml").read_text()
    for old, new in (("mels: 128", "mels: 80"), ("$sfot", "$sfot"), ("{x: $heard}", "{x: $herd}"),
                     (", value: 0}", "}"), ("use: mlx.stack", "use: mlx.stak")):  # fmt: skip
        text = text.replace(old, new)
    messages = messages_of("elderwise", text, sources, tmp_path, monkeypatch).splitlines()
    heads = [line.split(" ")[:2] for line in messages if not line.startswith(" ")]
    assert heads == [
        ["bundle.yaml:13:10:", "W212"],
        ["bundle.yaml:35:51:", "W209"],
        ["bundle.yaml:36:49:", "W206"],
        ["bundle.yaml:40:3:", "W204"],
    ]

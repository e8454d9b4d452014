"""Broken variants of the two example bundles, each with exactly its messages."""

from pathlib import Path

import pytest

import composer
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


@pytest.mark.parametrize("recipe", ["{bits: 8}", "{bits: 4, rules: {'*.self_attn.*': 8}}"])
def test_a_dtype_of_the_user_replaces_a_recipe_and_says_so(recipe, sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (HERE / "manifests" / "elderwise.yaml").read_text()
    assert "precision: bfloat16" in text
    Path("bundle.yaml").write_text(text.replace("precision: bfloat16", f"precision: {recipe}"))
    given = {"repo": sources["elderwise"]}
    report = composer.check("bundle.yaml", sources=given, precision={"decoder": "float16"})
    assert "\n".join(map(str, report.problems)) == (
        f"bundle.yaml:21:16: L334 warning: decoder runs in float16, which replaces its recipe of "
        f"{recipe[7]} bits\n"
        "    hint: nothing of it is quantized in this run; leave the dtype out for the recipe"
    )
    assert report.bundle.components["decoder"].spec.precision == "float16"
    assert composer.check("bundle.yaml", sources=given).ok
    report = composer.check("bundle.yaml", sources=given, precision={"speech": "float16"})
    assert "L334" not in str(report.problems)


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

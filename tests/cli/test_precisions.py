"""--precision in every form, and what `plan` and `show` print of it."""

import re
from math import prod

import pytest
from safetensors import safe_open

from composer.core.units import format_bytes
from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "elderwise-mini"
ATTENTION, MLP, TABLE = "attention", "MLP", "per-layer table"
KINDS = {
    ATTENTION: r"\.self_attn\.\w_proj\.",
    MLP: r"\.mlp\.\w+_proj\.",
    TABLE: r"embed_tokens_per_layer\.",
    "per-layer path": r"per_layer_(model_projection|input_gate|projection|projection_norm)\.",
    "embeddings": r"embed_tokens\.",
}


@pytest.fixture(scope="module")
def sizes():
    """Return how many numbers the decoder has of each kind, and in how many modules of matrices."""
    found = {}
    with safe_open(MINI / "decoder" / "model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118
            kind = next((k for k, pattern in KINDS.items() if re.search(pattern, name)), "others")
            numbers, modules = found.get(kind, (0, 0))
            found[kind] = (numbers + prod(file.get_slice(name).get_shape()), modules + 1)
    return found


def packed(bits, item, count):
    """Return the bytes of numbers in groups of 64, each with a scale and a bias."""
    return count * bits // 8 + 2 * item * count // 64


FORMS = {
    "a name": ("mixed-8-4", 4, 8, "mixed-8-4, in float32"),  # which the manifest says
    "a name and a dtype": ("mixed-8-4,bfloat16", 2, 8, "mixed-8-4, in bfloat16"),
    "braces": (
        "{bits: 4, rules: {'*.self_attn.*': 6}, dtype: bfloat16}", 2, 6,
        "4 bits, affine, groups of 64 and 1 rules, in bfloat16",
    ),
    "a name and a rule": (
        "{recipe: mixed-8-4, rules: {'*.self_attn.*': 6}}", 4, 6, "mixed-8-4, in float32"
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["command line", "profile"])
def test_plan_prints_the_bits_of_each_kind_of_module(cli, tmp_path, sizes, form, place):
    asked, item, attention, title = FORMS[form]
    given = ["--precision", f"decoder={asked}"]
    if place == "profile":
        profile = tmp_path / "here.yaml"
        text = asked if asked.startswith("{") else f"'{asked}'"
        profile.write_text(f"components: {{decoder: {{precision: {text}}}}}\n")
        given = ["--profile", profile]
    call = ("plan", MINI, "--task", "transcribe", "--backend", "decoder=mlx", *given)
    code, out, err = cli(*call)
    assert (code, err) == (0, "")
    wanted = {
        ATTENTION: (
            f"{attention} bits, groups of 64",
            packed(attention, item, sizes[ATTENTION][0]),
        ),
        MLP: ("4 bits, groups of 64", packed(4, item, sizes[MLP][0])),
        "embeddings": ({2: "bf16", 4: "f32"}[item], item * sizes["embeddings"][0]),
        TABLE: ("bf16", 2 * sizes[TABLE][0]),
    }
    for kind, (form, nbytes) in wanted.items():
        modules = f"{sizes[kind][1]} module{'s' if sizes[kind][1] > 1 else ''}"
        assert f"          {kind}: {form}, {modules}, {format_bytes(nbytes)}\n" in out
    others = item * sum(sizes[kind][0] for kind in ("others", "per-layer path"))
    total = others + sum(nbytes for _, nbytes in wanted.values())
    numbers = sum(count for count, _ in sizes.values())
    assert f"  bits  decoder: {8 * total / numbers:.3g} bits a weight\n" in out
    assert f"(asked: {title})" in out
    cast = "f32 in numpy -> bf16 in mlx, 768 B x N"
    if item == 4:
        cast = "f32 in numpy -> f32 in mlx, 768 B x N"
    assert f"cast  $soft -> embeds.values: {cast}\n" in out
    assert "cast  $asked.ids -> words.ids: i64 in numpy -> i64 in mlx, 8 B x T\n" in out


def test_show_prints_the_same(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    asked = ("--precision", "decoder=mixed-8-4")
    code, out, err = cli("show", MINI, *asked)
    assert (code, err) == (0, "")
    drawn = out.partition("graph")[0]
    planned = cli("plan", MINI, "--task", "chat", *asked)[1]
    bits = [line.strip() for line in planned[planned.index("bits  decoder") :].splitlines()[:7]]
    assert "MLP: 4 bits, groups of 64, 18 modules, " in "\n".join(bits)
    for line in bits:
        assert line.removeprefix("bits  decoder: ") in drawn
    assert "8 bits" not in cli("show", MINI)[1]


@pytest.mark.parametrize("verb", ["show", "plan", "check"])
def test_a_glob_of_the_authors_own_has_to_match(cli, verb):
    """Those of a recipe by name are for every architecture."""
    asked = "decoder={recipe: mixed-8-4, keep: ['*.layers.9.*']}"
    code, out, err = cli(verb, MINI, "--precision", asked)
    assert code == 3
    assert "W246 the glob '*.layers.9.*' in precision matches no module with a matrix" in out + err

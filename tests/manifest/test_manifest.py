"""Manifests are read whole, merged with a variant, or refused in place."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.core.suggest import did_you_mean, listed
from composer.manifest import (
    AdapterEntry,
    Input,
    Manifest,
    Node,
    Origin,
    Source,
    read_manifest,
)
from composer.manifest.patch import merge_patch
from composer.manifest.tree import SourceSpan
from tests.manifest.writing import bundle, error_text

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "tests" / "manifests"
PAGES = sorted((ROOT / "docs" / "errors").glob("M1*.md"))


def test_the_elderwise_bundle():
    manifest = read_manifest(MANIFESTS / "elderwise.yaml")
    assert manifest.name == "elderwise-sg-asr"
    assert manifest.sources == {"repo": Source("hf", "majentik/gemma-4-e4b-mlx-elderwise-MERaLiON")}
    decoder = manifest.components["decoder"]
    assert (decoder.use, decoder.weights) == ("mlx.gemma4", "repo/decoder")
    assert decoder.precision == "bfloat16"
    assert decoder.adapters == {"speech": AdapterEntry("repo/lora", 20.0)}
    assert manifest.components["projector"].emits == "decoder.embed"
    (task,) = manifest.tasks.values()
    assert (task.name, task.at) == ("default", ())
    assert task.inputs == {
        "audio": Input("audio"),
        "instruction": Input("text", default="Transcribe the following audio:"),
    }
    assert list(task.graph)[:3] == ["mel", "heard", "soft"]
    assert task.graph["mel"] == Node("features", {"audio": "$audio"})
    assert task.outputs == {"text": "$answer.text"}
    assert manifest.folder == MANIFESTS
    assert manifest.place("components", "decoder", "weights").line == 20


def test_a_variant_overrides_and_keeps_its_own_place():
    path = MANIFESTS / "mega-asr.yaml"
    plain, small = read_manifest(path), read_manifest(path, "small")
    assert plain.variants == small.variants == ("small",)
    assert (plain.variant, small.variant) == (None, "small")
    assert plain.components["decoder"].weights == "repo/mlx/llm-mixed8_4"
    assert small.components["decoder"].weights == "repo/mlx/llm-dwq4"
    assert small.components["decoder"].use == "mlx.lm"
    assert plain.place("components", "decoder", "weights").line == 8
    assert small.place("components", "decoder", "weights").line == 16
    assert small.place("components", "decoder", "use").line == 8


RECIPE = "{bits: 8, group_size: 32, rules: {'*.mlp.*': 4}, keep: [lm_head]}"


@pytest.mark.parametrize(
    ("base", "patch", "precision"),
    [
        (RECIPE, "{bits: 4}", QuantizationRecipe(4)),
        (RECIPE, "{bits: 4, rules: null}", QuantizationRecipe(4)),
        (RECIPE, "float16", "float16"),
        (RECIPE, "null", None),
        ("float16", "{bits: 4}", QuantizationRecipe(4)),
        (
            RECIPE,
            "{bits: 4, rules: {'*.q_proj': 8}}",
            QuantizationRecipe(4, rules={"*.q_proj": QuantizationRule(8, 64)}),
        ),
    ],
)
def test_a_precision_in_a_variant_replaces_the_whole_recipe(base, patch, precision):
    path = bundle(
        components=f"{{d: {{use: lm, precision: {base}, config: {{a: 1, b: {{c: 2}}}}}}}}",
        graph="{a: {run: d.embed, with: {}}}",
        outputs="{a: $a}",
        variants="{small: {components: {d: {config: {b: {d: 3}}, precision: PATCH}}}}".replace(
            "PATCH", patch
        ),
    )
    small = read_manifest(path, "small")
    assert small.components["d"].precision == precision
    assert small.components["d"].config == {"a": 1, "b": {"c": 2, "d": 3}}
    assert read_manifest(path).components["d"].precision != precision
    if precision is not None:
        assert small.place("components", "d", "precision").line == 7


def test_a_recipe_in_a_variant_is_whole():
    path = bundle(
        components=f"{{d: {{use: lm, precision: {RECIPE}}}}}",
        variants="{small: {components: {d: {precision: {group_size: 32}}}}}",
    )
    assert "M124 components.d.precision: it needs bits, or a recipe" in error_text(path, "small")


def test_only_a_components_own_precision_is_replaced():
    def bundle_of(key):
        precision = {"precision": {key: 1}}
        return {"components": {"d": {"config": precision}}, "a": {"b": precision}}

    merged, _ = merge_patch(bundle_of("x"), bundle_of("y"), SourceSpan((1, 1)), SourceSpan((2, 1)))
    assert merged["components"]["d"]["config"]["precision"] == {"x": 1, "y": 1}
    assert merged["a"]["b"]["precision"] == {"x": 1, "y": 1}


def test_every_field():
    path = bundle(
        summary="A small one",
        licence="[MIT, Apache-2.0]",
        publishes="[owner/tiny]",
        provenance="[{what: features, from: owner/base, how: converted}]",
        sources='{repo: "hf:owner/name@v1.0", here: ./, near: ./weights/}',
        components=(
            "{d: {use: mlx.lm, weights: repo, files: near/x, config: {a: [1]}, "
            "precision: {bits: 4, group_size: 32, keep: [lm_head], "
            "rules: {'*.mlp.*': 8, '*.up': {bits: 6, group_size: 128}}}}}"
        ),
        graph=None,
        inputs=None,
        outputs=None,
        tasks=(
            "{hear: {summary: Hear, inputs: {x: {type: tensor, port: f32 M F}, "
            "ids: {type: ids, default: [1, 2]}}, graph: {y: {run: d.embed}}, outputs: {y: $y.out}}}"
        ),
    )
    manifest = read_manifest(path)
    assert manifest.summary == "A small one"
    assert manifest.licence == ("MIT", "Apache-2.0")
    assert manifest.publishes == ("owner/tiny",)
    assert manifest.provenance == (Origin("features", "owner/base", "converted"),)
    assert manifest.sources == {
        "repo": Source("hf", "owner/name", "v1.0"),
        "here": Source("folder", "."),
        "near": Source("folder", "./weights"),
    }
    assert manifest.components["d"].precision == QuantizationRecipe(
        4,
        32,
        {"*.mlp.*": QuantizationRule(8, 32), "*.up": QuantizationRule(6, 128)},
        ("lm_head",),
    )
    task = manifest.tasks["hear"]
    assert task.at == ("tasks", "hear")
    assert task.summary == "Hear"
    assert task.inputs == {"x": Input("tensor", "f32 M F"), "ids": Input("ids", None, [1, 2])}
    assert str(manifest.place(*task.at, "graph", "y", key=True)).startswith("b.yaml:")


def test_json_is_read_too():
    path = Path("bundle.json")
    path.write_text(
        '{"composer": 1, "name": "tiny", "components": {},\n'
        ' "graph": {"a": {"run": "fill", "wiht": {}}}, "outputs": {"a": "$a"}}'
    )
    assert error_text(Path(".")) == (
        "bundle.json:2:33: M121 unknown key 'wiht' in graph.a; did you mean 'with'?\n"
        "    hint: keys here: run, with, expect, range"
    )


def test_a_folder_must_hold_one_manifest():
    folder = Path("x")
    folder.mkdir()
    assert error_text(folder) == (
        "x: M100 this folder has no bundle.yaml\n    hint: give the manifest's file, or write one"
    )
    bundle().rename(folder / "bundle.yaml")
    assert isinstance(read_manifest(folder), Manifest)
    (folder / "bundle.json").write_text("{}")
    assert error_text(folder) == (
        "x: M100 this folder has both bundle.yaml and bundle.json\n    hint: keep one of them"
    )


@pytest.mark.parametrize("scale", ["1000.5", "-1e30"])
def test_an_adapter_scale_has_a_range(scale):
    component = f"{{d: {{use: x, adapters: {{a: {{weights: r/x, scale: {scale}}}}}}}}}"
    bound = {"1000.5": "at most 1000, not 1000.5", "-1e30": "at least -1000, not -1e+30"}[scale]
    assert error_text(bundle(sources="{r: ./}", components=component)) == (
        f"b.yaml:7:62: M124 components.d.adapters.a.scale must be {bound}"
    )


def test_long_texts_are_refused():
    component = f"{{d: {{use: x, config: {{template: {'x' * 65_537}}}}}}}"
    assert error_text(bundle(components=component)) == (
        "b.yaml:6:45: M130 the text in components.d.config.template "
        "is longer than 65536 characters\n"
        "    hint: keep long texts in a file of the source"
    )
    assert "M130 a name in outputs is longer than 64" in error_text(
        bundle(outputs=f"{{{'m' * 65}: $mel}}")
    )


def test_all_problems_come_at_once_in_file_order():
    lines = error_text(
        bundle(name="A", components="{D: {uses: x}}", inputs="{a: 3}", outputs="{a: b}")
    ).splitlines()
    found = [line for line in lines if not line.startswith(" ")]
    assert [line.split()[1] for line in found] == ["M125", "M125", "M122", "M121", "M124", "M134"]
    assert [line[:9] for line in found] == sorted(line[:9] for line in found)


def test_an_unknown_variant_is_named_with_its_neighbours():
    path = bundle(variants="{small: {}, large: {}}")
    assert error_text(path, "smal") == (
        "b.yaml:7:1: M132 there is no variant 'smal'; did you mean 'small'?\n"
        "    hint: variants: small, large"
    )
    assert "hint: variants: none" in error_text(bundle(), "x")


def test_a_fault_in_a_variant_is_placed_there():
    path = bundle(variants="{small: {components: {features: {presicion: float16}}}}")
    assert read_manifest(path).variants == ("small",)
    assert error_text(path, "small").startswith(
        "b.yaml:7:44: M121 unknown key 'presicion' in components.features; did you mean"
    )
    path = bundle(variants="{small: {outputs: null}}")
    assert error_text(path, "small").startswith(
        "b.yaml:1:1: M122 the bundle needs the key 'outputs'"
    )


@pytest.mark.parametrize(
    ("base", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_follows_the_examples_of_rfc_7396(base, patch, merged):
    before = repr(base)
    assert merge_patch(base, patch, SourceSpan((1, 1)), SourceSpan((2, 1)))[0] == merged
    assert repr(base) == before


EXAMPLES = [yaml.safe_load(path.read_text("utf-8")) for path in MANIFESTS.glob("*.yaml")]
ODD = st.sampled_from([None, True, 0, -1, 2.5, "", "x", "$x", "\0text", "[key]", "../x", [], {}])
ODD_KEYS = st.sampled_from(["x", "[key]", "", "$", "use", "with", "graph", "tasks", "default"])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), example=st.sampled_from(EXAMPLES))
def test_a_broken_bundle_is_refused_in_place_or_read(tmp_path_factory, data, example):
    """Change up to three values or keys anywhere: never a traceback, always a line."""
    bundle = json.loads(json.dumps(example))
    for _ in range(data.draw(st.integers(1, 3))):
        value = bundle
        while isinstance(value, dict) and value:
            key = data.draw(st.sampled_from(sorted(value)))
            if not isinstance(value[key], dict) or data.draw(st.integers(0, 3)) == 0:
                break
            value = value[key]
        if isinstance(value, dict):
            if value and data.draw(st.booleans()):
                value[key] = copy.deepcopy(data.draw(ODD))
            else:
                value[data.draw(ODD_KEYS)] = copy.deepcopy(data.draw(ODD))
    path = tmp_path_factory.getbasetemp() / "broken.json"
    path.write_text(json.dumps(bundle, indent=1).replace("\\u0000", ""), "utf-8")
    variant = data.draw(st.sampled_from([None, "small"]))
    problems = ()
    try:
        read_manifest(path, variant)
    except ComposerError as error:
        problems = error.problems
    assert all(p.place and p.place.line and p.place.column for p in problems)
    assert not any("something else" in p.message for p in problems)


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=40)
    | st.lists(
        st.sampled_from(["composer: 1", "\n", "\n  ", "a: ", "- ", "{", "[", "]", '"', "|", "? "]),
        max_size=12,
    ).map(lambda parts: "".join(parts).encode())
)
def test_garbage_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "garbage.yaml"
    path.write_bytes(content)
    with pytest.raises(ComposerError):
        read_manifest(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_its_example_gives(page):
    text = page.read_text("utf-8")
    assert re.match(rf"# {page.stem} [A-Z].+\n\n", text)
    example = re.search(r"```(yaml|json)\n(.*?)```\n\n```text\n(.*?)\n```", text, re.DOTALL)
    if example is None:
        assert page.stem in ("M100", "M101", "M102")
        return
    path = Path(f"bundle.{example[1]}")
    path.write_text(example[2], "utf-8")
    assert error_text(path, "smal" if page.stem == "M132" else None) == example[3]
    assert page.stem in example[3]


def test_every_code_has_a_page():
    modules = (ROOT / "composer" / "manifest").glob("*.py")
    codes = {code for m in modules for code in re.findall(r'"(M1[0-4]\d)"', m.read_text("utf-8"))}
    assert codes == {page.stem for page in PAGES}


def test_reading_imports_no_numerical_library():
    code = "import sys, composer.manifest; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "mlx", "onnxruntime", "huggingface_hub"} & set(done.stdout.split())


def test_suggestions():
    assert did_you_mean("decodr", ["encoder", "decoder"]) == "did you mean 'decoder'?"
    assert did_you_mean("Decoder", ["decoder"]) == "did you mean 'decoder'?"
    assert did_you_mean("xyz", ["decoder"]) is None
    assert did_you_mean("x" * 10_000, ["decoder"]) is None
    assert listed([]) == "none"
    assert listed("abc") == "a, b, c"
    assert listed(map(str, range(18))).endswith("15 and 2 more")

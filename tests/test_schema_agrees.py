"""The schema refuses what check refuses, of generated slips, wherever JSON Schema can say it."""

import json
import re
from itertools import islice
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError

import composer
from composer.components.image.pixels import Pixels
from composer.manifest.schema import bundle_schema
from composer.sources.shipped import shipped_bundles, shipped_folder
from tests.slips import slips
from tests.test_wiring import cases

MANIFESTS = Path(__file__).parent / "manifests"
SLIPS = 100
ABSENT = {"S476", "S477", "S490"}  # weights that are not on this machine are no slip
PLAIN = r"(?:in the variant '\w+': )?[a-z0-9_]+"  # a node that runs a component, by its name alone

# What check refuses and a schema cannot: it looks up no name, and it opens no file.
NOT_IN_SCHEMA = {
    "a name that is declared elsewhere": [
        r"W20[67] ", r"W202 ", r"M129 ", r"M126 .* already the name", r"W220 ", r"W224 ", r"M137 ",
        r"W201 .* (has no method|needs a method)",
    ],
    "inputs of a node's kind, which its component's name alone does not tell": [
        rf"W203 {PLAIN} has no input", rf"W204 {PLAIN} needs input",
        rf"W205 {PLAIN}\.\w+ needs a .* not '",
        r"W20[34] \w+\.\w+ (has no input|needs input) '(per_layer|adapters)'",
    ],
    "types and spaces that flow through wires": [
        r"W2(08|09|10|11|17|22|25|27|28|29) ",
    ],
    "what files hold": [r"S4\d\d ", r"W2(3|4|5|6|7|8|9)\d ", r"W226 "],
    "two numbers or two lists compared": [
        r"M124 .* (hop \d+ skips sound|not a multiple of hop|would be more than|a frame has|"
        r"min_samples is|names has)",
    ],
    "a text's slots compared with the keys of a mapping": [
        r"M124 .* (for the optional|the optional '\w+'|is the conversation so far)",
        r"M124 .* (the template is empty|'\w+' has no slot)",
    ],
    "a whole number written with a point": [r"M123 .* whole number, not the number -?\d+\.0$"],
    "what a variant makes of the rest of the bundle": [r"[MW]\d{3} in the variant "],
}  # fmt: skip
PATTERNS = [re.compile(pattern) for patterns in NOT_IN_SCHEMA.values() for pattern in patterns]


@pytest.fixture(scope="module")
def validator():
    return Draft202012Validator(bundle_schema())


@pytest.fixture(scope="module")
def manifests():
    """Return every shipped manifest by name, with the folder of its weights where they ship."""
    found = {}
    for name in shipped_bundles():
        folder = shipped_folder("bundles") / name
        path = folder / "bundle.yaml" if folder.is_dir() else folder.with_suffix(".yaml")
        sources = {"repo": folder} if folder.is_dir() else None
        found[name] = (yaml.safe_load(path.read_text("utf-8")), sources)
    return found


def refusals(folder: Path, data, sources):
    """Return what check refuses, as texts that begin with a code."""
    path = folder / "bundle.json"
    path.write_text(json.dumps(data))
    declared = {name: each for name, each in (sources or {}).items() if name in str(data)}
    report = composer.check(path, sources=declared)
    problems = [p for p in report.problems if p.severity == "error" and p.code not in ABSENT]
    known = report.bundle and all(each.methods for each in report.bundle.components.values())
    return [f"{problem.code} {problem.message}" for problem in problems], known


def not_in_schema(text):
    return any(pattern.match(text) for pattern in PATTERNS)


MORE = [pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4)]


@pytest.mark.parametrize("seed", [1, *MORE])
def test_the_schema_agrees_with_check(validator, manifests, tmp_path, seed):
    alone = {name: data for name, (data, _) in manifests.items()}
    refused, passed, false = 0, [], []
    for name, what, data in islice(slips(alone, seed), 4 * SLIPS):
        found, known = refusals(tmp_path, data, manifests[name][1])
        valid = validator.is_valid(data)
        refused += bool(found)
        if valid and not all(map(not_in_schema, found)):
            passed.append((name, what, found))
        if found == [] and known and not valid:
            false.append((name, what, [each.message for each in validator.iter_errors(data)]))
        if refused == SLIPS:
            break
    assert refused == SLIPS
    assert passed == []
    assert false == []


@pytest.mark.parametrize(
    ("more", "valid"),
    [
        ("expect: {out: f32 M 3000}", True),
        ("expect: {out: 750 D @decoder.embed}", True),
        ("expect: {mask: bool F}", True),
        ("expect: {out: '@embed'}", False),
        ("expect: {out: f32 M F-1}", False),
        ("expect: {out: 80}", False),
        ("expects: {out: f32 M F}", False),
        ("range: [-1, 1]", True),
        ("range: [null, 1]", True),
        ("range: [null, null]", False),
        ("range: [0]", False),
        ("range: 1", False),
        ("range: [low, high]", False),
    ],
)
def test_what_a_node_may_expect(validator, manifests, tmp_path, more, valid):
    data, sources = manifests["mega-asr-mini"]
    node = data["graph"]["mel"] | yaml.safe_load(more)
    data = data | {"graph": data["graph"] | {"mel": node}}
    assert validator.is_valid(data) == valid
    found, _ = refusals(tmp_path, data, sources)
    assert valid != any(each.startswith("M") for each in found)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"size": {"height": 1, "width": 2}},
        {"size": {"height": 1}},
        {"size": {"shortest_edge": 3}},
        {"size": {"shortest_edge": 3, "height": 1, "width": 1}},
        {"size": {}},
        {"mean": [1.0, 2.0]},
        {"channels": "gray", "mean": [0.1, 0.2, 0.3]},
        {"channels": "gray", "std": [0.1]},
        {"std": [0.0]},
    ],
    ids=str,
)
def test_rules_between_the_settings_of_pixels(validator, config):
    definitions = validator.schema["$defs"]
    own = Draft202012Validator({"$ref": "#/$defs/image.pixels", "$defs": definitions})
    try:
        Pixels.Config.model_validate(config)
    except ValidationError:
        assert not own.is_valid(config)
    else:
        own.validate(config)


def test_shipped_manifests_are_valid(validator, manifests):
    for data, _ in manifests.values():
        validator.validate(data)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("mels: 80", "melz: 80"), "components.features.config"),
        (("mels: 80", "mels: 0"), "components.features.config.mels"),
        (("rate: 16000", "pad: {seconds: 3, multiple_of: 2}"), "components.features.config.pad"),
        (("stride: 8", "stride: 8, step: 2"), "components.encoder.config.rows"),
        (("use: lm", "use: lmm"), "components.decoder.use"),
        (("use: text.qwen3_asr}", "use: text.qwen3_asr, files: repo/x}"), "components.parse"),
        (("run: decoder.generate", "run: decoder.genrate"), "graph.answer.run"),
        (("max_tokens: 128", "max_token: 128"), "graph.answer.with"),
        (("max_tokens: 128", "max_tokens: 0"), "graph.answer.with.max_tokens"),
        (("max_tokens: 128", "max_tokens: $words"), "graph.answer.with.max_tokens"),
        (("max_tokens: 128", "top_p: 0.5"), "graph.answer.with"),
        (("{embeds: $embeds, max", "{max"), "graph.answer.with"),
        (("{embeds: $embeds, max", "{embeds: embeds, max"), "graph.answer.with.embeds"),
        ((", at: $asked.slots", ""), "graph.embeds.with"),
        (("at: $asked.slots", "where: $asked.slots"), "graph.embeds.with"),
        (("  audio: {type", "  task: {type"), "inputs"),
        (("{type: audio, split: {seconds: 9, vad: voice}}", "tensor"), "inputs.audio"),
        (("type: audio", "type: audio, port: f32 M F"), "inputs.audio"),
        (("repo: ./", "repo: weights"), "sources.repo"),
        (("repo/tokenizer", "../tokenizer"), "components.decoder.files"),
        (("{use: mlx.lm}", "{use: mlx.lm, wieghts: a}"), "variants.mlx.components"),
    ],
    ids=str,
)  # fmt: skip
def test_where_the_schema_points(validator, manifests, change, where):
    """An editor underlines the place."""
    text = (shipped_folder("bundles") / "mega-asr-mini" / "bundle.yaml").read_text("utf-8")
    assert change[0] in text
    errors = list(validator.iter_errors(yaml.safe_load(text.replace(*change, 1))))
    found = [".".join(map(str, each.absolute_path)) for each in errors]
    assert {where} == set(found)


@pytest.mark.parametrize(("manifest", "old", "new", "expected"), list(cases()))
def test_a_broken_bundle_is_refused_or_cannot_be(validator, manifest, old, new, expected):
    text = (MANIFESTS / f"{manifest}.yaml").read_text("utf-8")
    problems = re.findall(r"^bundle\.yaml(?::\d+:\d+)?: ([A-KM-Z].*)", expected, re.M)
    data = yaml.safe_load(text.replace(old, new, 1))
    assert not validator.is_valid(data) or all(map(not_in_schema, problems))

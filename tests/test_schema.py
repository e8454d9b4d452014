from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from composer.manifest.schema import bundle_schema, schema_text

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((Path(__file__).parent / "manifests").glob("*.yaml"))
GOOD = {
    "composer": 1,
    "name": "tiny",
    "components": {"features": {"use": "audio.log_mel", "config": {"mels": 80}}},
    "inputs": {"audio": "audio"},
    "graph": {"mel": {"run": "features", "with": {"audio": "$audio"}}},
    "outputs": {"mel": "$mel"},
}
TASK = {key: GOOD[key] for key in ("inputs", "graph", "outputs")}


def without(*keys):
    return {key: value for key, value in GOOD.items() if key not in keys}


@pytest.fixture(scope="module")
def validator():
    Draft202012Validator.check_schema(bundle_schema())
    return Draft202012Validator(bundle_schema())


def test_the_committed_schema_is_fresh():
    committed = (ROOT / "schemas" / "bundle-1.schema.json").read_text("utf-8")
    assert committed == schema_text(shipped=True), (
        "run: python -m composer.manifest.schema > schemas/bundle-1.schema.json"
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid(validator, path):
    validator.validate(yaml.safe_load(path.read_text("utf-8")))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"licence": ["MIT", "Apache-2.0"], "publishes": ["a/b"], "sources": {"here": "./"}},
        {"inputs": {"x": {"type": "tensor", "port": "f32 M F"}, "y": {"type": "text"}}},
        {
            "components": {
                "d": {
                    "use": "lm",
                    "weights": "here/x",
                    "precision": {"bits": 4, "rules": {"*": {"bits": 8}}},
                }
            }
        },
    ],
)
def test_a_good_bundle_is_valid(validator, more):
    validator.validate(GOOD | more)


def test_tasks_stand_in_for_the_shorthand(validator):
    validator.validate(without(*TASK) | {"tasks": {"hear": TASK}})


@pytest.mark.parametrize(
    "bad",
    [
        without("name"),
        without("graph"),
        GOOD | {"composer": 2},
        GOOD | {"wiht": 1},
        GOOD | {"name": "A b"},
        GOOD | {"summary": None},
        GOOD | {"tasks": {"hear": TASK}},
        GOOD | {"graph": {}},
        GOOD | {"graph": {"mel": {"run": "features", "with_": {}}}},
        GOOD | {"graph": {"Mel": {"run": "features"}}},
        GOOD | {"outputs": {"mel": "mel"}},
        GOOD | {"inputs": {"audio": "sound"}},
        GOOD | {"sources": {"repo": "https://example.org/x"}},
        GOOD | {"components": {"d": {"use": "lm", "weights": "here/x", "precision": "int3"}}},
    ],
)
def test_a_wrong_bundle_is_not(validator, bad):
    assert not validator.is_valid(bad)


def test_every_key_is_described():
    schema = bundle_schema()
    for kind in (schema, *schema["$defs"].values()):
        named = kind.get("properties", {}).values()
        assert all("description" in key or key.keys() <= {"$ref", "anyOf"} for key in named)

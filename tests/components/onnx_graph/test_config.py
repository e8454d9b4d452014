"""The config of a manifest against the file."""

import pytest
from pydantic import ValidationError

from composer.components.onnx.graph import OnnxGraph
from tests.components.onnx_graph.loading import facts_of, refusal
from tests.components.onnx_graphs import encoder


@pytest.mark.parametrize(("config", "message"), [
    (
        {"inputs": {"input_feature": {"layout": "M F"}}},
        "W260 inputs.input_feature: the file has no input 'input_feature'\n"
        "    hint: did you mean 'input_features'?; inputs: input_features, marks",
    ),
    (
        {"mask": {"input": "mask"}},
        "W260 mask.input: the file has no input 'mask'\n"
        "    hint: did you mean 'marks'?; inputs: input_features, marks",
    ),
    (
        {"rows": {"stride": 2, "output": "zzz"}},
        "W260 rows.output: the file has no output 'zzz'\n    hint: outputs: audio_embeds",
    ),
    (
        {"rows": {"stride": 2}},
        "W267 rows does not say whose frames it counts\n"
        "    hint: write rows.of: one of input_features, marks",
    ),
    (
        {"mask": {"input": "marks", "of": "marks"}},
        "W267 mask.of is 'marks', which is the mask itself\n"
        "    hint: write mask.of: one of input_features",
    ),
    (
        {"mask": {"input": "marks"}, "inputs": {"marks": {"layout": "M F"}}},
        "W265 inputs.marks is the mask, which is filled and takes no settings\n"
        "    hint: remove inputs.marks, or mask",
    ),
    (
        {"inputs": {"marks": {"layout": "F M"}}},
        "W263 inputs.marks wants layout 'F M', but the file has input marks [1, 30]\n"
        "    without the batch it has 1 axis",
    ),
    (
        {"inputs": {"input_features": {"pad": {"multiple_of": 10}}}},
        "W264 inputs.input_features.pad is {multiple_of: 10}, but the file takes 30 frames\n"
        "    30 comes from repo/onnx/encoder.onnx: input input_features [1, 3, 30]\n"
        "    hint: write pad: {fixed: 30}",
    ),
    (
        {"inputs": {"marks": {"pad": {"fixed": 30}, "fill": 0.5}}},
        "W264 inputs.marks.fill is 0.5, but the input is i64\n    hint: write a whole number",
    ),
    (
        {"mask": {"input": "marks", "unit": "row"}},
        "W265 mask.unit is 'row', but nothing says how many rows there are\n"
        "    hint: add rows: {stride: ...}",
    ),
    (
        {"mask": {"input": "marks", "unit": "row"}, "rows": {"stride": 2}},
        "W265 the mask has 30 marks, but 30 frames make 15 rows\n"
        "    30 comes from repo/onnx/encoder.onnx: input marks [1, 30]\n"
        "    hint: mask.unit is 'frame' or 'row'",
    ),
    (
        {"mask": {"input": "input_features", "of": "marks"}},
        "W265 mask.input cannot be filled: the file has input input_features [1, 3, 30] of f32\n"
        "    a mask has one axis of bool, i64, i32, f32, f16; a count has none, of i64 or i32",
    ),
])  # fmt: skip
def test_config_that_contradicts_the_file(at, config, message):
    path = encoder(at, frames=30, rows=15, mask="i64")
    assert refusal(facts_of, path, **config) == f"repo/onnx/encoder.onnx: {message}"


def test_all_misspelt_names_are_reported_at_once(at):
    path = encoder(at)
    config = {"inputs": {"a": {}, "b": {}}, "mask": {"input": "c"}}
    assert refusal(facts_of, path, **config).count("W260") == 3


@pytest.mark.parametrize(("config", "why"), [
    ({"input": {}}, "Extra inputs are not permitted"),
    ({"inputs": {"x": {"pad": {}}}}, "give either multiple_of or fixed"),
    ({"inputs": {"x": {"pad": {"multiple_of": 2, "fixed": 4}}}}, "give either multiple_of"),
    ({"inputs": {"x": {"fill": 1.0}}}, "fill does nothing without pad"),
    ({"inputs": {"x": {"layout": "T M"}}}, "Input should be 'M F', 'F M' or 'F D'"),
    ({"rows": {"stride": 0}}, "greater than or equal to 1"),
    ({"rows": {"stride": "8"}}, "valid integer"),
    ({"time_limit": float("inf")}, "finite"),
])  # fmt: skip
def test_config_is_strict(config, why):
    with pytest.raises(ValidationError, match=why):
        OnnxGraph.Config.model_validate(config)


def test_every_setting_is_described():
    schema = OnnxGraph.Config.model_json_schema()
    fields = [*schema["properties"].values()]
    fields += [f for d in schema["$defs"].values() for f in d["properties"].values()]
    assert len(fields) == 21
    assert all(field["description"] for field in fields)

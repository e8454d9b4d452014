"""What a graph's inputs are for is read from its header, and what is not known is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper

from tests.components.onnx_decoder.loading import facts_of, refusal, write_folder
from tests.components.onnx_graphs import constant, save, value

HEADS, WIDTH, ROWS, D = 2, 4, 12, 6
CACHE = ["batch_size", HEADS, "past", WIDTH]
PLAIN = {
    "input_ids": ("i64", ["batch_size", "length"]),
    "attention_mask": ("i64", ["batch_size", "total"]),
    "position_ids": ("i64", ["batch_size", "length"]),
    "past_key_values.0.key": ("f32", CACHE),
    "past_key_values.0.value": ("f32", CACHE),
}
OUTPUTS = {
    "logits": ("f32", ["batch_size", "length", ROWS]),
    "present.0.key": ("f32", CACHE),
    "present.0.value": ("f32", CACHE),
}
EMBEDS = {"inputs_embeds": ("f32", ["batch_size", "length", D])} | {
    name: form for name, form in PLAIN.items() if name != "input_ids"
}
TABLE = {"inputs_embeds": ("f32", ["batch_size", "length", D])}
LAYERS = {"per_layer_inputs": ("f32", ["batch_size", "length", 3, 5])}
MIXED = {"per_layer_inputs": ("f32", ["batch_size", "length", 15])}


def write(folder, inputs, outputs=None, file="onnx/model.onnx"):
    """Write a graph of this signature, which computes nothing."""
    outputs = OUTPUTS if outputs is None else outputs
    nodes, constants = [], []
    for name, (dtype, dims) in outputs.items():
        lengths = [each if isinstance(each, int) else 1 for each in dims]
        kind = np.float16 if dtype == "f16" else np.float32
        constants.append(constant(f"{name}_made", np.zeros(lengths, kind)))
        nodes.append(helper.make_node("Identity", [f"{name}_made"], [name]))
    given = [value(name, *form) for name, form in inputs.items()]
    made = [value(name, *form) for name, form in outputs.items()]
    return save(folder / file, nodes, given, made, constants)


@pytest.fixture
def folder(tmp_path):
    config = SimpleNamespace(
        to_json_string=lambda: '{"model_type": "qwen3", "eos_token_id": 2}', vocab_size=ROWS
    )
    return write_folder(SimpleNamespace(config=config), tmp_path / "repo")


def changed(forms, **more):
    found = {**forms, **{name.replace("__", "."): form for name, form in more.items()}}
    return {name: form for name, form in found.items() if form}


def test_ids_alone_take_no_rows_of_speech(folder):
    write(folder, PLAIN)
    facts = facts_of(folder)
    assert sorted(facts.methods) == ["generate", "logits", "replay"]
    assert list(facts.methods["generate"].inputs) == ["prompt"]
    assert not facts.methods["generate"].optional
    reason = (
        "repo/onnx/model.onnx: it takes input_ids alone, so that no row of speech or of a picture "
        "can be put into it: that takes an export with inputs_embeds"
    )
    lacking = ["embeds", "embed", "per_layer", "speech", "pictures"]
    assert facts.missing_reasons == dict.fromkeys(lacking, reason)


@pytest.mark.parametrize("layers", [{}, LAYERS, MIXED], ids=["none", "rows", "mixed"])
def test_embeddings_and_both_meanings_of_per_layer_inputs(folder, layers):
    write(folder, EMBEDS | layers)
    write(folder, {"input_ids": PLAIN["input_ids"]}, TABLE | layers, "onnx/embed.onnx")
    facts = facts_of(folder, embed="onnx/embed.onnx")
    generate = facts.methods["generate"]
    assert list(generate.inputs) == ["embeds", *(["per_layer"] if layers else [])]
    assert ("per_layer" in facts.methods) == bool(layers)
    sizes = {name: bound.value for name, bound in facts.dims.items()}
    if not layers:
        assert sizes == {"V": ROWS, "D": D}
        assert facts.missing_reasons["per_layer"].endswith("it has no input per_layer_inputs")
        return
    space = "per_layer" if layers is LAYERS else "per_layer_mixed"
    assert sizes == {"V": ROWS, "D": D} | ({"L": 3, "P": 5} if layers is LAYERS else {"W": 15})
    (embeds,) = generate.inputs["embeds"]
    whole = "embed" if layers is LAYERS else "embed_whole"
    assert embeds.space == facts.methods["embed"].returns["out"].space == whole
    (port,) = generate.inputs["per_layer"]
    assert port.space == facts.methods["per_layer"].returns["out"].space == space


FEATURES = {"audio_features": ("f32", ["n", D]), "image_features": ("f32", ["n", D])}


def test_rows_that_a_graph_puts_in_place_are_inputs_of_embed(folder):
    """Whatever is put into such embeddings afterwards would be in another space."""
    write(folder, EMBEDS | MIXED)
    inputs = {"input_ids": PLAIN["input_ids"]} | FEATURES
    write(folder, inputs, TABLE | MIXED, "onnx/embed.onnx")
    config = folder / "config.json"
    config.write_text('{"eos_token_id": 2, "audio_token_id": 7}')
    facts = facts_of(folder, embed="onnx/embed.onnx")
    embed = facts.methods["embed"]
    assert [*embed.inputs] == [*facts.methods["per_layer"].inputs] == ["ids", "speech"]
    assert embed.optional == {"speech"}
    assert embed.inputs["speech"][0].space == "embed"
    assert embed.returns["out"].space == "embed_whole"
    reason = "repo/config.json: it has no image_token_id"
    assert facts.missing_reasons["pictures"] == reason


def test_the_meanings_are_distinguished(folder):
    write(folder, EMBEDS | LAYERS)
    write(folder, {"input_ids": PLAIN["input_ids"]}, TABLE | MIXED, "onnx/embed.onnx")
    assert refusal(folder, embed="onnx/embed.onnx") == (
        "repo/onnx/embed.onnx: W283 per_layer_inputs f32 [batch_size, length, 15] are these with "
        "the projected embeddings, and the decoder takes rows of the per-layer table\n"
        "    repo/onnx/model.onnx: per_layer_inputs f32 [batch_size, length, 3, 5]\n"
        "    hint: take both files from one export: the two share a name and not a meaning"
    )


HALF = {"inputs_embeds": ("f16", ["batch_size", "length", D])}
NARROW = {"inputs_embeds": ("f32", ["batch_size", "length", D - 1])}


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        ({}, HALF, "inputs_embeds f16 [batch_size, length, 6] is not what the decoder takes"),
        ({}, NARROW, "inputs_embeds f32 [batch_size, length, 5] is not what the decoder takes"),
        ({}, OUTPUTS, "it has no output inputs_embeds with axes"),
        ({"scale": ("f32", [1])}, TABLE, "nothing is known to go into the input scale"),
        (
            {"audio_features": ("f32", ["n", "width"])},
            TABLE,
            "audio_features [n, width] does not say how wide its rows are",
        ),
        (
            {"audio_features": ("f32", ["n", D + 1])},
            TABLE,
            "audio_features [n, 7] is not as wide as the embeddings, 6",
        ),
    ],
)
def test_a_file_that_does_not_embed_for_the_decoder(folder, inputs, outputs, text):
    write(folder, EMBEDS)
    write(folder, {"input_ids": PLAIN["input_ids"]} | inputs, outputs, "onnx/embed.onnx")
    (line, *_) = refusal(folder, embed="onnx/embed.onnx").splitlines()
    assert line == f"repo/onnx/embed.onnx: W283 {text}"


def test_embeddings_need_a_file_that_makes_them(folder):
    write(folder, EMBEDS)
    assert refusal(folder) == (
        "W283 repo/onnx/model.onnx takes inputs_embeds, and config.embed names no file that makes "
        "them\n    hint: name it, from the folder of tokenizer.json: embed: onnx/embed_tokens.onnx"
    )
    write(folder, PLAIN)
    assert refusal(folder, embed="onnx/embed.onnx").endswith("\n    hint: leave embed out")


@pytest.mark.parametrize("path", ["/etc/embed.onnx", "../embed.onnx", "a/../b.onnx", "embed.bin"])
def test_the_file_stays_in_the_folder(folder, path):
    with pytest.raises(ValueError, match="is not the path of an ONNX file inside the folder"):
        facts_of(folder, embed=path)


FOUR = ["batch_size", HEADS, "past", WIDTH]


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        (
            {"cache_position": ("i64", ["length"])},
            {},
            "nothing is known to go into the input cache_position i64 [length]",
        ),
        (
            {"key_cache.0": ("f32", [1, 512, 8])},
            {},
            "nothing is known to go into the input key_cache.0 f32 [1, 512, 8]",
        ),
        (
            {"inputs_embeds": ("f32", ["batch_size", "length", D])},
            {},
            "a decoder takes either input_ids or inputs_embeds, and this one both",
        ),
        (
            {"input_ids": None},
            {},
            "a decoder takes either input_ids or inputs_embeds, and this one neither",
        ),
        (
            {"past_key_values__0__key": ("f32", ["batch_size", HEADS, 128, WIDTH])},
            {},
            "past_key_values.0.key f32 [batch_size, 2, 128, 4] always has 128 rows, and a text "
            "any number",
        ),
        (
            {"past_key_values__0__key": ("f32", ["batch_size", "heads", "past", WIDTH])},
            {},
            "past_key_values.0.key f32 [batch_size, heads, past, 4] does not say how many heads it "
            "has, or how wide they are",
        ),
        (
            {"past_key_values__0__key": ("bf16", FOUR)},
            {},
            "past_key_values.0.key bf16 [batch_size, 2, past, 4] is not f32 or f16 with 4 axes",
        ),
        (
            {"past_key_values__0__key": None, "past_key_values__0__value": None},
            {},
            "it has no cache: no input past_key_values.N.key, and so it would read a text anew for "
            "each token",
        ),
        (
            {"input_ids": ("i64", ["batch_size", 1])},
            {},
            "input_ids i64 [batch_size, 1] always has 1 rows, and a text any number",
        ),
        ({"attention_mask": ("i64", [4, "total"])}, {}, "attention_mask i64 [4, total] is for a "
         "batch of 4"),
        (
            {"position_ids": ("i64", [4, "batch_size", "length"])},
            {},
            "position_ids i64 [4, batch_size, length] has 4 kinds of positions, and 3 are known",
        ),
        (
            {},
            {"present__0__value": None},
            "past_key_values.0.value f32 [batch_size, 2, past, 4] has no output present.0.value",
        ),
        ({}, {"logits": None}, "a decoder has the output logits"),
    ],
)  # fmt: skip
def test_a_graph_that_is_no_such_decoder(folder, inputs, outputs, text):
    write(folder, changed(PLAIN, **inputs), changed(OUTPUTS, **outputs))
    lines = refusal(folder).splitlines()
    assert lines[0] == f"repo/onnx/model.onnx: W282 {text}"


def test_other_names_of_caches_are_paired_by_their_layers(folder):
    names = {"past_key_values.0.key": "past_key_7", "past_key_values.0.value": "past_value_7"}
    inputs = {names.get(name, name): form for name, form in PLAIN.items()}
    outputs = {"logits": OUTPUTS["logits"]}
    outputs |= {"present_value_7": ("f32", CACHE), "present_key_7": ("f32", CACHE)}
    write(folder, inputs, outputs)
    assert facts_of(folder).dims["V"].value == ROWS


def test_what_stands_beside_the_graph_is_checked(folder):
    write(folder, PLAIN, OUTPUTS | {"logits": ("f32", ["batch_size", "length", ROWS - 2])})
    assert refusal(folder).startswith(
        "repo/tokenizer.json: W250 the tokenizer has ids up to 11, but the embeddings have 10 rows"
    )
    write(folder, PLAIN, OUTPUTS | {"logits": ("f32", ["batch_size", "length", "vocab"])})
    assert refusal(folder) == (
        "repo/onnx/model.onnx: W282 neither logits nor vocab_size says how many ids it has"
    )
    (folder / "config.json").unlink()
    assert refusal(folder).startswith(
        "repo: W241 repo has neither config.json nor genai_config.json, so what ends a text is not"
    )


def test_a_folder_of_onnxruntime_genai_says_the_same_by_other_keys(folder):
    """Without vocab_size in the logits, it is the config's."""
    (folder / "config.json").unlink()
    text = '{"model": {"eos_token_id": [2, 3], "vocab_size": 12, "context_length": 99}}'
    (folder / "genai_config.json").write_text(text)
    write(folder, PLAIN, OUTPUTS | {"logits": ("f32", ["batch_size", "length", "vocab"])})
    facts = facts_of(folder)
    assert (facts.dims["V"].value, facts.dims["V"].witness) == (
        ROWS, "repo/genai_config.json: vocab_size",
    )  # fmt: skip
    assert not facts.notes

"""What the headers of a Gemma-4 decoder say, and how they are refused, at E4B's real sizes."""

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import composer
from composer.components.checkpoints.gemma4.config import read_settings
from composer.components.checkpoints.gemma4.layout import faults, layout
from composer.components.mlx.gemma4 import Gemma4
from composer.core.component import ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers, Tensor
from composer.manifest.entries import Quantization, QuantizationRule
from composer.runtime.profile import Profile
from tests import replica

AT = "language_model.model."
PROVEN = (
    "num_kv_shared_layers", "use_double_wide_mlp", "global_head_dim", "head_dim", "hidden_size",
    "attention_k_eq_v", "hidden_size_per_layer_input", "enable_moe_block", "num_attention_heads",
    "num_key_value_heads", "intermediate_size", "vocab_size", "vocab_size_per_layer_input",
)  # fmt: skip
SLIDING, FULL = "sliding_attention", "full_attention"
KEYS = replica.gemma4_config()["text_config"].keys() | {
    "per_layer_config", "sliding_window_pattern", "num_experts", "moe_intermediate_size",
    "top_k_experts", "num_global_key_value_heads", "attention_bias",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma4") / "decoder"
    replica.tokenizer(folder, ("<bos>",))
    return folder


@pytest.fixture
def facts(home):
    def read(change=lambda shapes: None, precision=None, outer=(), **text):
        """Read facts of E4B with other tensors or other settings; None leaves one out."""
        shapes, config = replica.gemma4_shapes(), replica.gemma4_config()
        change(shapes)
        config |= dict(outer)
        inner = config["text_config"] | text
        config["text_config"] = {key: value for key, value in inner.items() if value != "left out"}
        replica.safetensors(home / "model.safetensors", shapes)
        (home / "config.json").write_text(json.dumps(config))
        location = Location("repo", "", home.parent) / home.name
        return Gemma4.facts(Spec("d", ComponentConfig(), location, None, precision), Headers())

    return read


@pytest.fixture
def error_text(facts):
    def read(*given, **more):
        with pytest.raises(ComposerError) as caught:
            facts(*given, **more)
        return str(caught.value).replace("repo/decoder/config.json: ", "")

    return read


def packed(*names, bits=4, group=64):
    """Store some matrices quantized."""

    def change(shapes):
        for name in names:
            _, (rows, columns) = shapes.pop(f"{AT}{name}.weight")
            shapes[f"{AT}{name}.weight"] = ("U32", (rows, columns * bits // 32))
            for part in ("scales", "biases"):
                shapes[f"{AT}{name}.{part}"] = ("BF16", (rows, columns // group))

    return change


def stored(first=24, last=42, **more):
    """Store keys and values of layers that have no use for them."""

    def change(shapes):
        for layer in range(first, last):
            rows, at = (1024, 512) if layer in replica.FULL else (512, 256), f"{AT}layers.{layer}."
            for name in ("k_proj", "v_proj"):
                shapes[f"{at}self_attn.{name}.weight"] = ("BF16", (rows[0], 2560))
            shapes[f"{at}self_attn.k_norm.weight"] = ("BF16", (rows[1],))

    return change


# What is known


def test_the_dims_come_with_their_witnesses(facts):
    known = facts()
    dims = {symbol: (bound.value, bound.witness) for symbol, bound in known.dims.items()}
    table = "repo/decoder: embed_tokens.weight [262144, 2560]"
    assert dims == {
        "D": (2560, table),
        "V": (262144, table),
        "L": (42, "repo/decoder: the tensors of 42 layers"),
        "P": (256, "repo/decoder: per_layer_projection_norm.weight [256]"),
    }
    assert (known.dtype, known.notes, known.methods) == ("bf16", (), None)


def test_the_per_layer_table_is_not_counted(facts):
    total = sum(2 * size(shape) for _, shape in replica.gemma4_shapes().values())
    assert facts().nbytes == total - 2 * 262144 * 10752
    assert facts(precision="float32").nbytes == 2 * facts().nbytes
    recipe = Quantization(bits=4, group_size=64)
    projections = sum(
        size(shape) for name, (_, shape) in replica.gemma4_shapes().items()
        if re.search(r"\.(self_attn|mlp)\.\w+_proj\.weight$", name)
    )  # fmt: skip
    saved = 2 * projections - (projections // 2 + 2 * 2 * projections // 64)
    assert facts(precision=recipe).nbytes == facts().nbytes - saved


def size(shape):
    total = 1
    for length in shape:
        total *= length
    return total


@pytest.mark.parametrize("key", PROVEN)
def test_what_the_tensors_show_need_not_be_said(facts, key):
    assert facts(**{key: "left out"}).dims == facts().dims


def test_settings_of_transformers_own_spelling(facts, error_text):
    table = {str(layer): {"head_dim": 512} for layer in replica.FULL}
    facts(global_head_dim="left out", per_layer_config=table)
    table["5"] = {"head_dim": 256}
    assert "W275 per_layer_config is " in error_text(per_layer_config=table)
    table = {str(layer): {"head_dim": 256} for layer in replica.FULL}
    messages = error_text(per_layer_config=table)
    assert messages == "W275 global_head_dim is 512, but per_layer_config says 256"


def test_other_towers_and_dead_keys_are_counted_and_not_read(facts):
    def whole(shapes):
        stored()(shapes)
        shapes["model.vision_tower.x.weight"] = ("F32", (3, 3))
        shapes["embed_audio.embedding_projection.weight"] = ("BF16", (3, 3))

    known = facts(whole)
    assert [str(note) for note in known.notes] == [
        "repo/decoder: L325 warning: 2 tensors are not the text decoder's and not read by it, "
        "of embed_audio, vision_tower",
        "repo/decoder: L326 warning: 54 tensors are keys and values of layers that borrow theirs, "
        "and never read\n    layers.24.self_attn.k_norm.weight, layers.24.self_attn.k_proj.weight, "
        "layers.24.self_attn.v_proj.weight, layers.25.self_attn.k_norm.weight and 50 more",
    ]
    assert known.nbytes == facts().nbytes


@pytest.mark.parametrize("prefix", ["model.", "model.language_model."])
def test_other_prefixes(facts, prefix):
    def change(shapes):
        for name in list(shapes):
            shapes[name.replace(AT, prefix)] = shapes.pop(name)

    assert facts(change).dims == facts().dims


def test_no_backend_is_imported(facts, home):
    facts()
    code = (
        "import sys; from pathlib import Path; from composer.core.component import *;"
        "from composer.components.mlx.gemma4 import Gemma4; from composer.formats import Headers;"
        "from composer.core.location import Location;"
        f"at = Location('repo', '', Path({str(home.parent)!r})) / 'decoder';"
        "Gemma4.facts(Spec('d', ComponentConfig(), at), Headers());"
        "print([n for n in ('mlx', 'mlx_lm', 'tokenizers', 'torch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# What is refused


def test_a_tensor_that_is_missing(error_text):
    assert error_text(lambda shapes: shapes.pop(f"{AT}layers.3.mlp.up_proj.weight")) == (
        "W277 1 tensor is missing: layers.3.mlp.up_proj.weight\n"
        "    config.json makes layers.3.mlp.up_proj.weight [10240, 2560]: intermediate_size 10240, "
        "hidden_size 2560\n"
        "    repo/decoder: language_model.model.* are 664 tensors, and none has that name\n"
        "    hint: fetch the whole checkpoint, or give the config.json that belongs to it"
    )


def test_a_tensor_of_no_part(error_text):
    extra = {f"{AT}layers.3.mlp.extra.weight": ("BF16", (4, 4)), "classifier.bias": ("F32", (4,))}
    assert error_text(lambda shapes: shapes.update(extra)) == (
        "W278 1 tensor is neither the decoder's nor a tower's: classifier.bias\n"
        "    classifier.bias f32 [4] is there\n"
        "    Gemma-4 has its decoder, here under language_model.model.*, and towers: "
        "vision_tower., audio_tower., embed_vision., embed_audio., multi_modal_projector., "
        "vision_embedder.\n"
        "    hint: take them out of the checkpoint\n"
        "W278 1 tensor is no part of this decoder: layers.3.mlp.extra.weight\n"
        "    repo/decoder: language_model.model.layers.3.mlp.extra.weight bf16 [4, 4] is there\n"
        "    config.json makes 665 tensors in 42 layers, and none of that name\n"
        "    hint: give the config.json that belongs to the weights, or take the tensors out"
    )


def test_a_tensor_under_two_names(error_text):
    extra = {"lm_head.weight": ("BF16", (4, 4)), "model.lm_head.weight": ("BF16", (4, 4))}
    messages = error_text(lambda shapes: shapes.update(extra), tie_word_embeddings=False)
    assert "W278 1 tensor is neither the decoder's nor a tower's: model.lm_head.weight" in messages


def test_a_wrong_shape(error_text):
    name = f"{AT}layers.5.self_attn.q_proj.weight"
    assert error_text(lambda shapes: shapes.update({name: ("BF16", (2048, 2560))})) == (
        "W279 layers.5.self_attn.q_proj.weight is [2048, 2560], but config.json makes it "
        "[4096, 2560]\n"
        f"    [2048, 2560] comes from repo/decoder: {name} bf16 [2048, 2560]\n"
        "    [4096, 2560] comes from config.json: num_attention_heads 8 x global_head_dim 512, "
        "hidden_size 2560"
    )


def test_all_of_it_comes_at_once(error_text):
    def change(shapes):
        del shapes[f"{AT}norm.weight"]
        shapes[f"{AT}more"] = ("F32", (1,))
        shapes[f"{AT}layers.0.mlp.up_proj.weight"] = ("BF16", (10240, 2559))

    messages = error_text(change, final_logit_softcapping=-1.0)
    heads = [line[:4] for line in messages.splitlines() if not line.startswith(" ")]
    assert heads == ["W275"]  # tensors are held against sound settings alone
    heads = [line[:4] for line in error_text(change).splitlines() if not line.startswith(" ")]
    assert heads == ["W277", "W278", "W279"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"num_hidden_layers": "left out"}, "W276 config.json does not say num_hidden_layers,"),
        ({"layer_types": "left out"}, "W276 config.json does not say layer_types, and defaults"),
        ({"rope_parameters": "left out"}, "W276 config.json does not say rope_parameters, which"),
        ({"sliding_window": "left out"}, "W276 config.json does not say sliding_window, which"),
        (
            {"final_logit_softcapping": "left out"},
            "W276 config.json does not say final_logit_softcapping, and defaults differ: none "
            "and 30\n    hint: write final_logit_softcapping into config.json as the model was "
            "trained",
        ),
        (
            {"enable_moe_block": True, "num_experts": 8, "moe_intermediate_size": 4},
            "W276 config.json does not say top_k_experts, and no tensor shows how many experts",
        ),
        ({"num_attention_heads": 4}, "W279 layers.0.self_attn.q_proj.weight is [2048, 2560], but "),
        ({"use_double_wide_mlp": True}, "W279 layers.24.mlp.gate_proj.weight is [10240, 2560], "),
        ({"attention_k_eq_v": True}, "W278 4 tensors are no part of this decoder: layers.5.self"),
        ({"hidden_size_per_layer_input": 0}, "W278 129 tensors are no part of this decoder: embed"),
        ({"num_key_value_heads": True}, "W275 num_key_value_heads is True; expected 1 or more"),
        (
            {"hidden_activation": "silu"},
            "W275 hidden_activation is silu; expected gelu_pytorch_tanh",
        ),
        (
            {"use_bidirectional_attention": "all"},
            "W275 use_bidirectional_attention is all; expected",
        ),
        ({"layer_types": [FULL] * 3}, "W275 layer_types names 3 layers, num_hidden_layers 42"),
        ({"layer_types": [SLIDING] * 42}, "W275 the last layer has sliding_attention; transform"),
        (
            {"layer_types": [SLIDING] * 24 + [FULL] * 18},
            "W275 the last 18 layers borrow keys and values, but none before them has full_attent",
        ),
        ({"num_kv_shared_layers": 42}, "W275 num_kv_shared_layers is 42; expected 0 to 41"),
        (
            {"num_kv_shared_layers": 20},
            "W275 num_kv_shared_layers is 20, but of the last 20 layers only 22, 23 store keys\n"
            "    config.json: layers 22 to 41 borrow theirs\n"
            "    the first of the tensors is layers.22.self_attn.k_norm.weight\n",
        ),
        ({"num_kv_shared_layers": 0}, "W277 54 tensors are missing: layers.24.self_attn.k_proj."),
        ({"vocab_size_per_layer_input": 5}, "W275 vocab_size_per_layer_input is 5 but the table"),
        ({"final_logit_softcapping": 0}, "W275 final_logit_softcapping is 0; expected a number"),
        ({"rms_norm_eps": 2}, "W275 rms_norm_eps is 2; expected a number above 0 and below 1.0"),
        ({"sliding_window": 0}, "W275 sliding_window is 0; expected 1 or more"),
        (
            {"rope_parameters": {FULL: {"rope_type": "yarn"}, SLIDING: {"rope_type": "default"}}},
            "W275 rope_parameters of full_attention is {'rope_type': 'yarn'}\n    hint: wanted ro",
        ),
        ({"hidden_size": 2048}, "W241 hidden_size is 2048 but the embeddings have 2560"),
        ({"tie_word_embeddings": False}, "W242 tie_word_embeddings is false but there is no lm_h"),
    ],
)
def test_settings_that_cannot_be(error_text, text, message):
    assert error_text(**text).startswith(message)


def test_keys_of_every_layer_prove_nothing(error_text):
    messages = error_text(stored(), num_kv_shared_layers="left out")
    assert messages.startswith(
        "W276 config.json does not say num_kv_shared_layers, and keys of every layer are stored, "
        "used or not; defaults differ: 0 and 20\n"
    )


def test_the_two_places_of_one_setting(error_text):
    messages = error_text(outer={"tie_word_embeddings": False})
    assert "W275 tie_word_embeddings is False outside text_config and True in it" in messages


def test_another_model(error_text):
    assert error_text(outer={"model_type": "gemma3"}) == (
        "W275 config.json has the model_type 'gemma3'; expected gemma4 or gemma4_text\n"
        "    hint: mlx.lm takes other language models"
    )


def test_names_under_another_prefix(error_text):
    def change(shapes):
        for name in list(shapes):
            shapes[name.replace(AT, "decoder.")] = shapes.pop(name)

    messages = error_text(change)
    assert messages.startswith(
        "repo/decoder: W277 repo/decoder has no embed_tokens.weight\n    the te"
    )
    assert messages.endswith("begin with language_model.model., model.language_model. or model.")


# Quantization


def test_a_checkpoint_that_is_quantized_where_every_layer_reads(facts):
    names = ("embed_tokens", "embed_tokens_per_layer", "layers.7.per_layer_projection")
    table = {"bits": 4, "group_size": 64, "vision_tower.x": False}
    known = facts(packed(*names), outer={"quantization": table})
    assert known.dims["D"].value == 2560
    assert [str(note) for note in known.notes] == [
        "repo/decoder: L324 warning: the checkpoint is quantized in embed_tokens, "
        "embed_tokens_per_layer, layers.7.per_layer_projection, which every layer reads: an error "
        "there is added once per layer\n    3 modules at 4 bits\n    hint: take a checkpoint, or a "
        "recipe, that quantizes the attention and MLP projections alone"
    ]
    safe = facts(packed("layers.0.mlp.up_proj"), outer={"quantization": table})
    assert safe.notes == ()
    wrong = packed("layers.0.mlp.up_proj", bits=8)
    with pytest.raises(ComposerError, match=r"W243 layers\.0\.mlp\.up_proj is 4 bits in groups"):
        facts(wrong, outer={"quantization": table})


def test_a_recipe_says_what_it_touches(facts, error_text):
    def recipe(name, bits=4):
        return Quantization(bits=4, group_size=64, rules={name: QuantizationRule(bits, 64)})

    assert facts(precision=Quantization(bits=4, group_size=64)).notes == ()
    (note,) = facts(precision=recipe("*.per_layer_input_gate")).notes
    assert note.code == "L324"
    assert note.message.startswith("precision quantizes layers.0.per_layer_input_gate, layers.1.p")
    assert error_text(precision=recipe("*embed_tokens_per_layer")) == (
        "repo/decoder: W281 precision quantizes embed_tokens_per_layer, whose rows are read from "
        "their file as stored\n    hint: name it in no rule; it takes no memory where it is"
    )


# In a bundle


MANIFEST = """\
composer: 1
name: tiny
sources: {repo: .}
components:
  decoder: {use: mlx.gemma4, weights: repo/decoder}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  rows: {run: decoder.per_layer, with: {ids: $ids}}
  answer: {run: decoder.generate, with: {embeds: $words, per_layer: $rows}}
outputs: {text: $answer.text}
"""


def messages(home, text=MANIFEST):
    path = home.parent / "bundle.yaml"
    path.write_text(text)
    problems = composer.check(path).problems
    return [str(problem).replace(f"{path}:", "bundle.yaml:") for problem in problems]


def test_per_layer_inputs_are_wired_where_there_are_any(facts, home):
    facts()
    assert messages(home) == []
    lacking = MANIFEST.replace(", per_layer: $rows", "").replace(
        "answer.text}", "answer.text, r: $rows}"
    )
    (problem,) = messages(home, lacking)
    assert problem.partition(" ")[2] == (
        "W204 decoder.generate needs input 'per_layer', which is not wired\n"
        "    42 comes from repo/decoder: the tensors of 42 layers\n"
        "    256 comes from repo/decoder: per_layer_projection_norm.weight [256]\n"
        "    hint: add it under 'with': per_layer: $..."
    )


def test_a_decoder_without_them_has_no_such_port(facts, home):
    def plain(shapes):
        for name in list(shapes):
            if "per_layer" in name:
                del shapes[name]

    known = facts(plain, hidden_size_per_layer_input=0)
    assert {*Gemma4.methods} - {*known.methods} == {"per_layer"}
    assert not any("per_layer" in each.inputs for each in known.methods.values())
    assert {*known.dims} == {"D", "V"}
    problems = messages(home)
    assert [re.search("W2..", problem)[0] for problem in problems] == ["W201", "W203"]
    why = (
        "\n    others of mlx.gemma4 have it"
        "\n    repo/decoder: no embed_tokens_per_layer.weight, and no hidden_size_per_layer_input "
        "above 0\n"
    )
    assert f"W201 decoder (mlx.gemma4) has no method 'per_layer'{why}" in problems[0]
    assert f"W203 decoder.generate has no input 'per_layer'{why}" in problems[1]
    text = MANIFEST.replace("  rows: {run: decoder.per_layer, with: {ids: $ids}}\n", "")
    assert messages(home, text.replace(", per_layer: $rows", "")) == []


def test_a_loaded_table_counts_against_the_memory(facts, home):
    facts()
    assert messages(home) == []
    for profile, needs in (
        (Profile(memory=9 * 10**9), "9.29"),
        (Profile(Placement(tables="loaded"), memory=14 * 10**9), "14.9"),
    ):
        with pytest.raises(ComposerError, match=f"R505 the weights need {needs} GB, and the prof"):
            composer.load(home.parent / "bundle.yaml", profile=profile)


def test_check_refuses_without_reading_weights(facts, home):
    with pytest.raises(ComposerError):
        facts(lambda shapes: shapes.pop(f"{AT}norm.weight"))
    (problem,) = messages(home)
    assert problem.startswith("bundle.yaml:5:39: W277 repo/decoder/config.json: 1 tensor is missin")


# Any config


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 600), st.floats(allow_nan=True), st.text(max_size=5),
    st.lists(st.sampled_from([SLIDING, FULL, 3]), max_size=4),
    st.dictionaries(st.sampled_from([SLIDING, FULL, "5"]), st.dictionaries(
        st.sampled_from(["rope_type", "rope_theta", "head_dim", "factor"]),
        st.sampled_from(["default", "proportional", 0, 1, 16, 1e4, None]), max_size=3), max_size=2),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(KEYS)), VALUES, max_size=4))
def test_any_config_is_read_or_refused(changes):
    shapes = {name.removeprefix(AT): shape for name, shape in replica.gemma4_shapes().items()}
    here = Location("repo", "x", None)
    tensors = {n: Tensor(n, d.lower(), shape, 0, here, 0) for n, (d, shape) in shapes.items()}
    config = replica.gemma4_config()["text_config"] | changes
    made, problems = read_settings(config, tensors)
    assert (made is None) == bool(problems)
    assert {problem.code for problem in problems} <= {"W275", "W276"}
    if made:
        list(faults(layout(made), tensors, {}, "repo: "))

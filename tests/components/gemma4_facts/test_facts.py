"""What the headers of a Gemma-4 decoder show, at E4B's real sizes."""

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.components.checkpoints.gemma4.config import read_settings
from composer.components.checkpoints.gemma4.layout import layout_problems, tensor_shapes
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.formats import Tensor
from tests import replica
from tests.components.gemma4_facts.headers import AT, FULL, SLIDING, stored

PROVEN = (
    "num_kv_shared_layers", "use_double_wide_mlp", "global_head_dim", "head_dim", "hidden_size",
    "attention_k_eq_v", "hidden_size_per_layer_input", "enable_moe_block", "num_attention_heads",
    "num_key_value_heads", "intermediate_size", "vocab_size", "vocab_size_per_layer_input",
)  # fmt: skip
KEYS = replica.gemma4_config()["text_config"].keys() | {
    "per_layer_config", "sliding_window_pattern", "num_experts", "moe_intermediate_size",
    "top_k_experts", "num_global_key_value_heads", "attention_bias",
}  # fmt: skip


def packed(*names, bits=4, group=64):
    """Store some matrices quantized."""

    def change(shapes):
        for name in names:
            _, (rows, columns) = shapes.pop(f"{AT}{name}.weight")
            shapes[f"{AT}{name}.weight"] = ("U32", (rows, columns * bits // 32))
            for part in ("scales", "biases"):
                shapes[f"{AT}{name}.{part}"] = ("BF16", (rows, columns // group))

    return change


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
    assert (known.dtype, known.notes) == ("bf16", ())
    assert known.methods["generate"].inputs.keys() == {"embeds", "per_layer", "when"}
    assert known.missing_reasons["pictures"].endswith(
        "use_bidirectional_attention is not vision: a picture is read as words are"
    )


def test_the_per_layer_table_is_not_counted(facts):
    total = sum(2 * size(shape) for _, shape in replica.gemma4_shapes().values())
    assert facts().nbytes == total - 2 * 262144 * 10752
    assert facts(precision="float32").nbytes == 2 * facts().nbytes
    recipe = QuantizationRecipe(bits=4, group_size=64)
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
def test_what_the_tensors_show_need_not_be_in_the_config(facts, key):
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
        "from composer.components.mlx.gemma4 import MlxGemma4;"
        "from composer.formats import Headers;"
        "from composer.core.location import Location;"
        f"at = Location('repo', '', Path({str(home.parent)!r})) / 'decoder';"
        "MlxGemma4.facts(Spec('d', ComponentConfig(), at), Headers());"
        "print([n for n in ('mlx', 'mlx_lm', 'tokenizers', 'torch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


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


def test_a_recipe_says_what_it_touches(facts):
    def recipe(name, bits=4):
        return QuantizationRecipe(bits=4, group_size=64, rules={name: QuantizationRule(bits, 64)})

    assert facts(precision=QuantizationRecipe(bits=4, group_size=64)).notes == ()
    assert facts(precision=recipe("*.per_layer_input_gate", 8)).notes == ()
    (note,) = facts(precision=recipe("*.per_layer_input_gate")).notes
    assert note.code == "L324"
    assert note.message.startswith("precision quantizes layers.0.per_layer_input_gate, layers.1.p")
    (note,) = facts(precision=recipe("*embed_tokens_per_layer")).notes
    assert note.message.startswith("precision quantizes embed_tokens_per_layer, which every layer")


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
        list(layout_problems(tensor_shapes(made), tensors, {}, "repo: "))


def test_a_checkpoint_whose_encoders_are_quantized_warns(facts):
    def change(shapes):
        shapes["embed_audio.embedding_projection.weight"] = ("U32", (2560, 192))
        shapes["embed_audio.embedding_projection.scales"] = ("BF16", (2560, 24))

    notes = {note.code: note for note in facts(change).notes}
    assert notes.keys() == {"L325", "L339"}
    assert notes["L339"].message == (
        "the checkpoint is quantized in embed_audio.embedding_projection, which are encoders' and "
        "no decoder's"
    )

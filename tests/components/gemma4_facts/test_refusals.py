"""Headers of a Gemma-4 decoder that are refused."""

import pytest

from tests.components.gemma4_facts.headers import AT, FULL, SLIDING, stored


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

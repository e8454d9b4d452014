"""mlx.lm against transformers and against mlx-lm's own loader, on tiny random models."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models

from composer.components.mlx import architecture
from composer.components.mlx.checkpoint import read_checkpoint
from composer.components.mlx.lm import LanguageModel
from composer.components.mlx.loader import build, sanitize
from composer.core.component import ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from composer.generation.decoder import Prompt, State
from composer.generation.engine import Engine, Request
from composer.generation.sampler import Sampling
from composer.generation.stop import Stop
from composer.manifest.entries import Quantization, QuantizationRule

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS, WIDTH, EOS = 192, 64, 2
KEYS = (
    "architectures", "eos_token_id", "hidden_size", "max_position_embeddings", "model_type",
    "num_hidden_layers", "quantization", "quantization_config", "rope_parameters", "rope_scaling",
    "text_config", "tie_word_embeddings", "vocab_size",
)  # fmt: skip
INNER = (
    *KEYS, "bits", "format", "group_size", "mode", "model.embed_tokens", "mrope_section",
    "quant_algo", "quant_method", "rope_type", "scale_fmt", "type", "weight_block_size",
)  # fmt: skip
IDS = np.random.default_rng(0).integers(3, ROWS, 17)
SIZES = {
    "vocab_size": ROWS,
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": EOS,
    "pad_token_id": 0,
}
KINDS = {
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, {}),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {}),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM, {}),
    "gemma3_text": (
        transformers.Gemma3TextConfig,
        transformers.Gemma3ForCausalLM,
        {"sliding_window": 8, "query_pre_attn_scalar": 16, "sliding_window_pattern": 3},
    ),
}


def torch_model(kind="qwen3", tied=True, **more):
    config_class, model_class, own = KINDS[kind]
    settings = {"rope_theta": 10000.0} | SIZES | own | more
    torch.manual_seed(0)
    model = model_class(config_class(tie_word_embeddings=tied, **settings)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name:
                value.normal_(0.0 if "gemma" in kind else 1.0, 0.2)
    return model


def save(model, folder, dtype=torch.float32, **changes):
    """Write an mlx-lm folder: mlx-lm's names are those of transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string()) | changes
    config.setdefault("sliding_window_pattern", 3)
    config["rope_theta"] = 10000.0
    config.pop("rope_parameters" if model.config.model_type != "qwen3" else "", None)
    config = {key: value for key, value in config.items() if value is not None}
    state = {name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    if config["tie_word_embeddings"]:
        del state["lm_head.weight"]
    (folder / "config.json").write_text(json.dumps(config))
    save_file(state, folder / "model.safetensors", metadata={"format": "mlx"})
    vocabulary = {f"w{token}": token for token in range(ROWS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def edit(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


def rename(folder, change):
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "mlx"})
    return folder


def spec(folder, precision=None, files=None):
    location = Location("repo", "", folder.parent) / folder.name
    other = files and Location("repo", "", files.parent) / files.name
    return Spec("decoder", ComponentConfig(), location, other, precision)


def load(folder, precision=None):
    asked = spec(folder, precision)
    return LanguageModel.load(asked, LanguageModel.facts(asked, Headers()), Placement())


def error_text(folder, precision=None):
    with pytest.raises(ComposerError) as caught:
        LanguageModel.facts(spec(folder, precision), Headers())
    return str(caught.value).replace(f"repo/{folder.name}", "repo/lm")


def outputs(stream):
    tokens = []
    while True:
        try:
            tokens.append(next(stream))
        except StopIteration as end:
            return tokens, end.value


def greedy(lm, embeds, count=24):
    return outputs(lm.generate(embeds, max_tokens=count))[1]["ids"].tolist()


def greedy_of_torch(model, ids=IDS, count=24):
    """Take the likeliest token again and again, over the whole sequence each time."""
    ids = torch.tensor(ids)[None]
    with torch.no_grad():
        for _ in range(count):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    return ids[0, -count:].tolist()


def f32(value):
    return np.array(value.astype(mx.float32))


@pytest.fixture(scope="module")
def expected(qwen3):
    return greedy_of_torch(qwen3[0])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def qwen3(home):
    model = torch_model()
    folder = save(model, home / "qwen3")
    return model, load(folder), folder


@pytest.fixture
def folder(tmp_path):
    return save(torch_model(num_hidden_layers=2), tmp_path / "lm")


# The same numbers as transformers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_it_computes_what_transformers_computes(tmp_path, kind, tied):
    model = torch_model(kind, tied)
    lm = load(save(model, tmp_path / kind))
    embeds = lm.embed(mx.array(IDS))
    table = model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(f32(embeds), table[IDS])
    with torch.no_grad():
        theirs = model(torch.tensor(IDS)[None]).logits[0].numpy()
    for _ in range(2):  # the second time shows that nothing was changed in place
        assert np.abs(f32(lm.logits(embeds)) - theirs).max() < 2e-5 * np.abs(theirs).max()
    assert greedy(lm, embeds) == greedy_of_torch(model)


def test_ids_take_the_same_path_as_their_embeddings(tmp_path):
    lm = load(save(torch_model("gemma3_text"), tmp_path / "gemma"))
    ids = mx.array(IDS)
    direct = lm.model(ids[None])[0]
    np.testing.assert_array_equal(f32(direct), f32(lm.logits(lm.embed(ids))))


def test_scaled_embeddings_are_another_space(tmp_path):
    model = torch_model("gemma3_text")
    lm = load(save(model, tmp_path / "gemma"))
    embeds = lm.embed(mx.array(IDS))
    theirs = model.get_input_embeddings()(torch.tensor(IDS)).detach().numpy()
    np.testing.assert_allclose(theirs, f32(embeds) * 8, rtol=1e-6)
    scaled = f32(lm.logits(mx.array(theirs)))
    assert np.abs(scaled - f32(lm.logits(embeds))).max() > 0.1


@pytest.mark.parametrize("chunk", [1, 7, 64, 2048])
def test_the_chunk_of_the_prefill_changes_nothing(qwen3, expected, chunk):
    model, lm, _ = qwen3
    embeds = lm.embed(mx.array(IDS))
    lm.decoder.chunk = chunk
    try:
        state = lm.decoder.prefill(Prompt({"input_embeddings": embeds}))
        with torch.no_grad():
            theirs = model(torch.tensor(IDS)[None]).logits[0, -1].numpy()
        np.testing.assert_allclose(lm.decoder.logits(state), theirs, atol=2e-4)
        assert greedy(lm, embeds) == expected
    finally:
        lm.decoder.chunk = 2048


def test_a_window_shorter_than_the_prompt_survives_chunks(tmp_path):
    model = torch_model("gemma3_text")
    lm = load(save(model, tmp_path / "gemma"))
    theirs = greedy_of_torch(model)
    for chunk in (1, 5, 64):
        lm.decoder.chunk = chunk
        assert greedy(lm, lm.embed(mx.array(IDS))) == theirs


def test_embeddings_of_no_token_are_continued_too(qwen3):
    model, lm, _ = qwen3
    embeds = np.random.default_rng(4).normal(0, 0.2, (9, WIDTH)).astype(np.float32)
    with torch.no_grad():
        theirs = model(inputs_embeds=torch.tensor(embeds)[None]).logits[0].numpy()
    np.testing.assert_allclose(f32(lm.logits(mx.array(embeds))), theirs, atol=2e-4)
    ids = model.generate(
        inputs_embeds=torch.tensor(embeds)[None], max_new_tokens=12, do_sample=False
    )[0].tolist()
    assert greedy(lm, mx.array(embeds), 12) == ids


def test_several_requests_in_flight_equal_their_solo_runs(qwen3):
    _, lm, _ = qwen3
    prompts = [lm.embed(mx.array(IDS[:size])) for size in (17, 1, 8)]
    counts = (12, 3, 7)
    alone = [greedy(lm, *each) for each in zip(prompts, counts, strict=True)]
    engine = Engine(lm.decoder, lm.tokenizer)
    answers = []
    for prompt, count in zip(prompts, counts, strict=True):
        given = Prompt({"input_embeddings": prompt})
        answers.append(engine.admit(Request(given, Sampling(), Stop(lm.stop, count))))
        engine.advance()
    while engine.busy:
        engine.advance()
    assert [answer.ids for answer in answers] == alone


# generate


def test_it_streams_tokens_and_returns_text_ids_and_reason(qwen3):
    _, lm, _ = qwen3
    tokens, result = outputs(lm.generate(lm.embed(mx.array(IDS)), max_tokens=5))
    assert [token.id for token in tokens] == result["ids"].tolist()
    assert "".join(token.text for token in tokens) == result["text"]
    assert result["text"] == "".join(f"w{token}" for token in result["ids"])
    assert result["ids"].dtype == np.int64
    assert result["finish_reason"] == "length"


@pytest.mark.parametrize("as_text", [True, False])
def test_it_stops_at_a_token_given_by_id_or_by_text(qwen3, as_text):
    _, lm, _ = qwen3
    embeds = lm.embed(mx.array(IDS))
    ids = greedy(lm, embeds, 8)
    last = next(n for n in range(1, 8) if ids[n] not in ids[:n])
    stop = f"w{ids[last]}" if as_text else ids[last]
    _, result = outputs(lm.generate(embeds, max_tokens=8, stop=(stop,)))
    assert result["ids"].tolist() == ids[:last]
    assert result["finish_reason"] == "stop"


def test_the_eos_of_generation_config_comes_before_that_of_config(folder):
    ids = greedy(load(folder), load(folder).embed(mx.array(IDS)), 4)
    edit(folder, eos_token_id=[EOS, ids[1]])
    assert load(folder).stop == {EOS, ids[1]}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids[0]}))
    lm = load(folder)
    assert lm.stop == {ids[0]}
    _, result = outputs(lm.generate(lm.embed(mx.array(IDS))))
    assert (result["text"], result["ids"].tolist(), result["finish_reason"]) == ("", [], "stop")


def test_sampling_is_decided_by_its_seed(qwen3):
    _, lm, _ = qwen3
    embeds = lm.embed(mx.array(IDS))

    def draw(**options):
        return outputs(lm.generate(embeds, max_tokens=12, **options))[1]["ids"].tolist()

    hot = draw(temperature=2.0, seed=1)
    assert hot == draw(temperature=2.0, seed=1) != draw(temperature=2.0, seed=2)
    assert draw(temperature=2.0, top_k=1) == greedy(lm, embeds, 12)


def test_what_is_said_aside_is_no_text(qwen3):
    _, lm, _ = qwen3
    embeds = lm.embed(mx.array(IDS))
    ids = greedy(lm, embeds, 12)
    opens, closes = ids[3], ids[6]
    assert ids.count(opens) == ids.count(closes) == 1
    tokens, found = outputs(lm.generate(embeds, max_tokens=12, reasoning=(f"w{opens}", closes)))
    text = "".join(f"w{id}" for id in ids[:3] + ids[7:])
    assert (found["ids"].tolist(), found["text"]) == (ids, text)
    assert "".join(token.text for token in tokens) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "R510 temperature is -1.0; it must be 0 or more"),
        ({"stop_text": ("", "x")}, "R510 a text of stop_text has 0 characters; it must have 1 to"),
        ({"max_tokens": 0}, "R510 max_tokens is 0; it must be at least 1"),
        ({"stop": ("<end>",)}, "R516 stop '<end>' is not a token of this model"),
        ({"stop": (ROWS,)}, f"R516 stop {ROWS} is not a token of this model"),
        ({"reasoning": ("w3", "<end>")}, "R565 reasoning '<end>' is not a token of this model"),
        ({"top_k": 3}, "R510 top_k 3 has no effect at temperature 0, which is greedy"),
    ],
)
def test_bad_options_are_refused_before_anything_is_computed(qwen3, options, message):
    _, lm, _ = qwen3
    with pytest.raises(ComposerError) as caught:
        lm.generate(lm.embed(mx.array(IDS)), **options)
    assert str(caught.value).startswith(message)


@pytest.mark.filterwarnings("ignore:Passing .repetition_penalty.:UserWarning")
@pytest.mark.parametrize("penalty", [1.2, 3.0])
def test_penalties_are_those_of_transformers_on_embeddings(qwen3, expected, penalty):
    model, lm, *_ = qwen3
    embeds = lm.embed(mx.array(IDS))
    found = outputs(lm.generate(embeds, max_tokens=24, repetition_penalty=penalty))[1]
    with torch.no_grad():
        wanted = model.generate(
            inputs_embeds=torch.tensor(np.array(embeds))[None],
            attention_mask=torch.ones(1, len(IDS)),
            max_new_tokens=24,
            do_sample=False,
            repetition_penalty=penalty,
        )[0].tolist()
    ids = found["ids"].tolist()
    assert ids == wanted[: len(ids)]
    assert ids != expected


def test_log_probabilities_are_those_of_transformers(qwen3, expected):
    model, lm, *_ = qwen3
    found = outputs(lm.generate(lm.embed(mx.array(IDS)), max_tokens=24, logprobs=True))[1]
    assert found["ids"].tolist() == expected
    whole = torch.tensor([*IDS.tolist(), *expected])[None]
    with torch.no_grad():
        logits = model(whole).logits[0, len(IDS) - 1 : -1].double()
    wanted = torch.log_softmax(logits, -1)[range(len(expected)), expected].numpy()
    np.testing.assert_allclose(found["logprobs"], wanted, atol=1e-4)


def test_ids_outside_the_vocabulary_are_refused(qwen3):
    _, lm, _ = qwen3
    with pytest.raises(ComposerError) as caught:
        lm.embed(mx.array([1, ROWS, -1]))
    assert str(caught.value) == (
        f"R513 ids {ROWS}, -1 are outside the vocabulary of {ROWS}\n"
        "    hint: they come from another model's tokenizer, or from a fill"
    )


def test_positions_are_counted(folder):
    edit(folder, max_position_embeddings=20)
    lm = load(folder)
    tokens, result = outputs(lm.generate(lm.embed(mx.array(IDS))))
    assert (len(tokens), result["finish_reason"]) == (3, "length")
    with pytest.raises(ComposerError) as caught:
        next(lm.generate(lm.embed(mx.array([5] * 20))))
    assert str(caught.value).startswith(
        "R514 the prompt has 20 positions, but the model's context is 20"
    )
    with pytest.raises(ComposerError, match="R514 there are no embeddings to continue"):
        next(lm.generate(lm.embed(mx.array([], mx.int64))))


def test_overflow_is_an_error_not_a_text(qwen3):
    _, lm, _ = qwen3
    with pytest.raises(ComposerError, match="R512 the decoder's logits are not numbers"):
        next(lm.generate(mx.full((3, WIDTH), mx.nan)))
    with pytest.raises(ComposerError, match="R512 the decoder's logits are not numbers"):
        lm.decoder.greedy([State([], mx.array([0.0, mx.inf]))])
    assert lm.decoder.greedy([State([], mx.array([0.0, 2.0, -mx.inf]))]) == [1]


# Precision


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
def test_precision_is_what_it_runs_in(qwen3, precision):
    model, _, folder = qwen3
    facts = LanguageModel.facts(spec(folder, precision), Headers())
    lm = load(folder, precision)
    short = {"float16": "f16", "bfloat16": "bf16", "float32": "f32"}[precision]
    assert facts.dtype == short
    parameters = [value for _, value in tree_flatten(lm.model.parameters())]
    assert {str(value.dtype) for value in parameters} == {f"mlx.core.{precision}"}
    assert facts.nbytes == sum(value.nbytes for value in parameters)
    embeds = lm.embed(mx.array(IDS))
    assert str(embeds.dtype) == f"mlx.core.{precision}"
    with torch.no_grad():
        theirs = model(torch.tensor(IDS)[None]).logits[0].numpy()
    error = np.abs(f32(lm.logits(embeds)) - theirs).max() / np.abs(theirs).max()
    assert error < {"float16": 1e-2, "bfloat16": 1e-1, "float32": 2e-5}[precision]


def test_weights_keep_their_type_unless_asked(tmp_path):
    folder = save(torch_model(num_hidden_layers=1), tmp_path / "lm", torch.bfloat16)
    facts = LanguageModel.facts(spec(folder), Headers())
    assert facts.dtype == "bf16"
    assert str(load(folder).embed(mx.array([3])).dtype) == "mlx.core.bfloat16"


def test_mixed_types_are_remarked_on(folder):
    rename(folder, lambda state: state.update({"model.norm.weight": torch.ones(WIDTH).bfloat16()}))
    (note,) = LanguageModel.facts(spec(folder), Headers()).notes
    assert note.code == "L323"
    assert note.message.startswith("weights are stored in bf16 and f32")
    assert LanguageModel.facts(spec(folder, "float32"), Headers()).notes == ()


# Quantized checkpoints


def mixed(path, module):
    leaf = path.rpartition(".")[2]
    if leaf in ("q_proj", "k_proj", "v_proj", "o_proj"):
        return {"group_size": 32, "bits": 8}
    return {"group_size": 64, "bits": 4} if leaf in ("gate_proj", "up_proj", "down_proj") else False


SCHEMES = {
    "uniform 4": (64, 4, None),
    "uniform 8": (32, 8, None),
    "mixed 8-4": (64, 4, mixed),
    "only the table": (64, 4, lambda path, module: path.endswith("embed_tokens")),
}


def quantized(model, folder, group_size, bits, predicate):
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    made, config = load_model(save(model, folder))
    made, config = quantize_model(made, config, group_size, bits, quant_predicate=predicate)
    save_model(folder, made)
    save_config(config, folder / "config.json")
    (folder / "model.safetensors.index.json").unlink()
    return folder


def dequantized(model, lm):
    """Return the torch model with the numbers that the packed weights stand for."""
    state = {}
    for path, module in lm.model.named_modules():
        if "scales" in module:
            state[f"{path}.weight"] = mx.dequantize(
                module.weight,
                module.scales,
                module.biases,
                group_size=module.group_size,
                bits=module.bits,
            )
    state = {name: torch.tensor(f32(value)) for name, value in state.items()}
    left = model.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    model.tie_weights()
    return model


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("tied", [True, False])
def test_quantized_checkpoints_load_as_published(tmp_path, name, tied):
    from mlx_lm.utils import load_model

    folder = quantized(torch_model(tied=tied), tmp_path / "lm", *SCHEMES[name])
    lm, facts = load(folder), LanguageModel.facts(spec(folder), Headers())
    assert {symbol: bound.value for symbol, bound in facts.dims.items()} == {"D": WIDTH, "V": ROWS}
    theirs, _ = load_model(folder)
    ours, parameters = (dict(tree_flatten(model.parameters())) for model in (lm.model, theirs))
    assert ours.keys() == parameters.keys()
    assert all(mx.array_equal(ours[key], parameters[key]) for key in ours)
    assert facts.nbytes == sum(value.nbytes for value in ours.values())
    ids = mx.array(IDS)
    embeds = lm.embed(ids)
    np.testing.assert_array_equal(f32(embeds), f32(theirs.model.embed_tokens(ids)))
    np.testing.assert_array_equal(f32(lm.logits(embeds)), f32(theirs(ids[None])[0]))
    plain = dequantized(torch_model(tied=tied), lm)
    with torch.no_grad():
        reference = plain(torch.tensor(IDS)[None]).logits[0].numpy()
    error = np.abs(f32(lm.logits(embeds)) - reference).max()
    assert error < 1e-3 * np.abs(reference).max()


def test_a_packed_table_is_dequantized_by_its_module(tmp_path):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["uniform 4"])
    facts = LanguageModel.facts(spec(folder), Headers())
    assert facts.dims["D"].witness == "repo/lm: model.embed_tokens.weight [192, 8] of 4 bits"
    assert facts.dtype == "f32"


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_scales_take_the_precision_and_packed_weights_do_not(tmp_path, precision):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["uniform 8"])
    lm = load(folder, precision)
    parameters = dict(tree_flatten(lm.model.parameters()))
    kinds = {name.rpartition(".")[2]: str(value.dtype) for name, value in parameters.items()}
    assert kinds["scales"] == kinds["biases"] == f"mlx.core.{precision}"
    assert str(parameters["model.layers.0.mlp.up_proj.weight"].dtype) == "mlx.core.uint32"
    assert str(lm.embed(mx.array([3])).dtype) == f"mlx.core.{precision}"
    facts = LanguageModel.facts(spec(folder, precision), Headers())
    assert facts.nbytes == sum(value.nbytes for value in parameters.values())


RECIPE = Quantization(4, 64, {"*.self_attn.*": QuantizationRule(8, 32)}, ("*.layers.0.*",))


def test_a_recipe_quantizes_projections_and_nothing_else(qwen3):
    _, plain, folder = qwen3
    lm = load(folder, RECIPE)
    packed = {path: m.bits for path, m in lm.model.named_modules() if "scales" in m}
    assert packed == {
        f"model.layers.{layer}.{part}": bits
        for layer in (1, 2)
        for parts, bits in (
            (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"), 8),
            (("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"), 4),
        )
        for part in parts
    }
    weight = plain.model.model.layers[1].mlp.up_proj.weight
    wanted = mx.quantize(weight, group_size=64, bits=4)
    module = lm.model.model.layers[1].mlp.up_proj
    for found, each in zip((module.weight, module.scales, module.biases), wanted, strict=True):
        assert mx.array_equal(found, each)
    facts = LanguageModel.facts(spec(folder, RECIPE), Headers())
    assert facts.nbytes == sum(v.nbytes for _, v in tree_flatten(lm.model.parameters()))
    reference = dequantized(torch_model(), lm)
    with torch.no_grad():
        theirs = reference(torch.tensor(IDS)[None]).logits[0].numpy()
    ours = f32(lm.logits(lm.embed(mx.array(IDS))))
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()
    assert np.abs(ours - f32(plain.logits(plain.embed(mx.array(IDS))))).max() > 1e-2


def test_a_rule_that_names_the_table_quantizes_it_too(qwen3):
    _, _, folder = qwen3
    recipe = Quantization(4, 64, {"*.embed_tokens": QuantizationRule(8, 64)})
    assert load(folder, recipe).model.model.embed_tokens.bits == 8
    everything = Quantization(4, 64, {"*": QuantizationRule(8, 64)})
    assert not hasattr(load(folder, everything).table, "bits")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            Quantization(4, 64, {"*.attention.*": QuantizationRule(8, 64)}, ("lm_head",)),
            "W246 the glob '*.attention.*' in precision matches no module with a matrix\n"
            "W246 the glob 'lm_head' in precision matches no module",
        ),
        (
            Quantization(4, 128),
            "W246 model.layers.0.mlp.gate_proj has 64 columns, not a multiple of the group size "
            "128\n    hint: choose a smaller group_size, or list it under keep",
        ),
        (Quantization(4, 64, keep=("*",)), "W246 precision is a recipe that quantizes nothing"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(folder, recipe, message):
    assert message in error_text(folder, recipe)


def test_what_is_quantized_is_not_quantized_again(tmp_path):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["mixed 8-4"])
    assert error_text(folder, Quantization(4)) == (
        "W246 precision is a recipe, but 21 modules are quantized already\n"
        "    hint: give the unquantized weights, or leave precision out"
    )


def table_of(folder):
    return json.loads((folder / "config.json").read_text())["quantization"]


def without(state, *names):
    for name in names:
        del state[name]


PATH = "model.layers.1.mlp.up_proj"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: edit(f, quantization=table_of(f) | {PATH: {"group_size": 64, "bits": 8}}),
            f"W243 {PATH} is 8 bits in groups of 64, affine, but its shapes are not\n"
            "    weight u32 [128, 8]\n    scales f32 [128, 1]\n    biases f32 [128, 1]",
        ),
        (
            lambda f: edit(
                f, quantization=table_of(f) | {"model.layers.7.mlp.up_proj": {"bits": 4}}
            ),
            "W243 quantization names model.layers.7.mlp.up_proj, which is not there",
        ),
        (
            lambda f: edit(f, quantization=table_of(f) | {PATH: False}),
            f"W243 quantization says false for {PATH}, which is quantized",
        ),
        (
            lambda f: rename(f, lambda state: without(state, f"{PATH}.scales")),
            f"W243 {PATH} is 4 bits in groups of 64, affine, but has no scales\n",
        ),
        (
            lambda f: rename(f, lambda state: without(state, f"{PATH}.biases")),
            f"W243 {PATH} is 4 bits in groups of 64, affine, but has no biases\n",
        ),
        (
            lambda f: rename(
                f, lambda state: state.update({f"{PATH}.weight": torch.zeros(128, 64)})
            ),
            f"W243 {PATH} is 4 bits in groups of 64, affine, but is not stored so\n",
        ),
        (
            lambda f: edit(f, quantization=None, quantization_config=None),
            "W243 21 modules are quantized but config.json has no quantization\n",
        ),
        (
            lambda f: edit(f, quantization=None, quantization_config={"quant_method": "awq"}),
            "W243 the weights are quantized by 'awq', which mlx.lm does not read\n",
        ),
    ],
)
def test_a_quantization_that_contradicts_the_tensors_is_refused(tmp_path, spoil, message):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["mixed 8-4"])
    LanguageModel.facts(spec(folder), Headers())
    spoil(folder)
    assert message in error_text(folder)


def test_a_wrong_default_is_told_a_few_times(tmp_path):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["uniform 4"])
    edit(folder, quantization=table_of(folder) | {"bits": 8})
    text = error_text(folder)
    assert text.count("8 bits in groups of 64, affine, but its shapes are not") == 8
    assert "W243 14 more modules are wrong in the same way" in text


def test_a_quantization_of_nothing_is_refused(folder):
    edit(folder, quantization={"group_size": 64, "bits": 4})
    assert "W243 quantization is set but no tensor is quantized" in error_text(folder)


# Headers that contradict


def test_facts_come_from_headers_alone(qwen3):
    _, _, folder = qwen3
    facts = LanguageModel.facts(spec(folder), Headers())
    assert {symbol: bound.value for symbol, bound in facts.dims.items()} == {"D": WIDTH, "V": ROWS}
    assert facts.dims["D"].witness == "repo/qwen3: model.embed_tokens.weight [192, 64]"
    assert facts.dtype == "f32"
    assert facts.notes == ()
    assert LanguageModel.facts(spec(folder), None).unknown


def test_facts_import_no_backend(qwen3):
    _, _, folder = qwen3
    code = f"""
import sys
from pathlib import Path
from composer.core.component import ComponentConfig, Spec
from composer.components.mlx.backend import Mlx
from composer.components.mlx.checkpoint import read_checkpoint
from composer.components.mlx.lm import LanguageModel
from composer.components.mlx.loader import build, sanitize
from composer.components.models.stack import Stack
from composer.formats import Headers
from composer.core.location import Location
spec = Spec("decoder", ComponentConfig(), Location("repo", "", Path({str(folder)!r})))
print(LanguageModel.facts(spec, Headers()).dims["D"].value, Mlx().name)
print(sorted({{"mlx", "mlx_lm", "tokenizers", "transformers", "torch"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{WIDTH} mlx\n[]\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 128},
            "W241 hidden_size is 128 but the embeddings have 64\n"
            "    64 comes from repo/lm: model.embed_tokens.weight [192, 64]",
        ),
        ({"vocab_size": 200}, "W241 vocab_size is 200 but the embeddings have 192\n"),
        (
            {"num_hidden_layers": 3},
            "W241 num_hidden_layers is 3 but there are tensors of 2 layers\n"
            "    no tensors of layers 2",
        ),
        (
            {"num_hidden_layers": 1},
            "W241 num_hidden_layers is 1 but there are tensors of 2 layers\n"
            "    tensors of layers 1 too",
        ),
        (
            {"tie_word_embeddings": False},
            "W242 tie_word_embeddings is false but there is no lm_head.weight\n",
        ),
        ({"eos_token_id": [2, 192]}, "W244 eos_token_id 192 is outside the vocabulary of 192\n"),
        ({"model_type": "qwen33"}, "W240 the installed mlx-lm has no model_type 'qwen33'\n"),
        ({"model_type": "phi"}, "W240 mlx-lm's 'phi' does not accept input_embeddings"),
        ({"model_type": "gemma4_text"}, "W240 mlx-lm's 'gemma4_text' reads per-layer inputs"),
        ({"model_type": "../evil"}, "W240 config.json has the model_type '../evil', which names"),
        ({"model_type": None}, "W240 config.json names no model_type"),
        ({"model_file": "model.py"}, "S470 'model_file' runs 'model.py', Python code"),
        ({"architectures": 5}, "W240 config.json has the architectures '5'; expected a list of"),
        ({"architectures": [[]]}, "W240 config.json has the architectures '[[]]'; expected a list"),
        ({"architectures": [{}]}, "W240 config.json has the architectures '[{}]'; expected a list"),
        (
            {"rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": "yarn", "factor": 4.0}},
            "W249 rope_scaling has mrope_section and the type 'yarn'",
        ),
        (
            {"rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": [], "type": "mrope"}},
            "W249 rope_scaling has mrope_section and the type '[]'",
        ),
        ({"hidden_size": 64.0}, "W241 hidden_size is 64.0 but the embeddings have 64\n"),
        ({"num_hidden_layers": "2"}, "W241 num_hidden_layers is 2; expected 1 to 10000"),
        ({"num_hidden_layers": 10**19}, "W241 num_hidden_layers is 10000000000000000000; expected"),
        ({"max_position_embeddings": "9"}, "W241 max_position_embeddings is 9; expected 1 to"),
    ],
)
def test_a_config_that_contradicts_the_tensors_is_refused(folder, changes, message):
    edit(folder, **changes)
    assert message in error_text(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["qwen3", "gemma3_text", "mrope", "yarn", "awq", "fp8", "affine"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(INNER) | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=4), JSON)
@settings(max_examples=150, deadline=None)
def test_no_config_makes_the_check_fail_otherwise(qwen3, changes, eos):
    """Any value of any key that is read is taken or refused."""
    folder = qwen3[2]
    config = json.loads((folder / "config.json").read_text()) | changes

    class Changed(Headers):
        def config(self, location):
            return {"eos_token_id": eos} if location.inside.endswith(".json") else config

        def exists(self, location):
            return True

    with suppress(ComposerError):
        LanguageModel.facts(spec(folder), Changed())


def test_a_tied_model_with_a_head_is_refused(tmp_path):
    folder = save(torch_model(tied=False), tmp_path / "lm")
    LanguageModel.facts(spec(folder), Headers())
    edit(folder, tie_word_embeddings=True)
    assert error_text(folder).startswith(
        "repo/lm/config.json: W242 tie_word_embeddings is true but a head is stored, which would "
        "be ignored\n    lm_head.weight f32 [192, 64]\n"
    )


def test_all_problems_come_at_once(folder):
    edit(folder, hidden_size=1, tie_word_embeddings=False, eos_token_id=999, model_type="phi")
    codes = {
        line.split()[1] for line in error_text(folder).splitlines() if not line.startswith(" ")
    }
    assert codes == {"W240", "W241", "W242", "W244"}


def test_a_folder_without_embeddings_is_no_language_model(folder):
    rename(folder, lambda state: without(state, "model.embed_tokens.weight"))
    assert "W241 a language model has one embed_tokens.weight with two axes" in error_text(folder)


def test_a_folder_without_config_is_no_language_model(folder):
    (folder / "config.json").unlink()
    assert error_text(folder).startswith("W241 repo/lm has no config.json")


def test_the_tokenizer_may_be_elsewhere_but_must_be(folder, tmp_path):
    other = tmp_path / "tokenizer"
    other.mkdir()
    (folder / "tokenizer.json").rename(other / "tokenizer.json")
    assert error_text(folder) == (
        "repo/lm/tokenizer.json: W245 there is no repo/lm/tokenizer.json, so ids cannot become "
        "text\n    hint: point `files` at the folder that holds tokenizer.json, or at the file"
    )
    asked = spec(folder, files=other)
    lm = LanguageModel.load(asked, LanguageModel.facts(asked, Headers()), Placement())
    assert outputs(lm.generate(lm.embed(mx.array(IDS)), max_tokens=2))[1]["text"].startswith("w")


def test_files_may_name_the_tokenizer_itself(folder):
    asked = spec(folder, files=folder / "tokenizer.json")
    lm = LanguageModel.load(asked, LanguageModel.facts(asked, Headers()), Placement())
    assert lm.tokenizer.id_to_token(5) == "w5"


def test_a_tokenizer_is_read_before_anything_else_reads_it(folder):
    (folder / "tokenizer.json").write_text("no tokenizer")
    assert error_text(folder).startswith("repo/lm/tokenizer.json:1:1: S410 the file is not JSON")


def test_a_tokenizer_with_more_ids_than_rows_is_refused(folder):
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["<one more>"])
    tokenizer.save(str(path))
    assert error_text(folder) == (
        "repo/lm/tokenizer.json: W250 the tokenizer has ids up to 192, but the embeddings have "
        "192 rows\n    repo/lm: model.embed_tokens.weight [192, 64]\n"
        "    hint: give the tokenizer that the model was trained with"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_changed_since_the_check_is_refused(folder, name):
    asked, file = spec(folder), folder / name
    asked = replace(asked, weights=Location("repo", "", folder))
    facts = LanguageModel.facts(asked, Headers())
    os.utime(file, (1, 1))
    with pytest.raises(ComposerError) as caught:
        LanguageModel.load(asked, facts, Placement())
    assert str(caught.value).startswith(f"R530 repo/{name}: changed after it was checked\n")
    outside = folder.parent / name
    file.rename(outside)
    file.symlink_to(outside)
    with pytest.raises(ComposerError, match="S400 is a link that leads out of repo"):
        LanguageModel.load(asked, facts, Placement())


def test_tensors_of_a_dtype_that_does_not_run_are_refused(folder):
    rename(folder, lambda state: state.update({"model.norm.weight": torch.ones(WIDTH).double()}))
    assert "W246 stored in a dtype that no decoder runs in: 1 of " in error_text(folder)


def test_a_model_that_never_stops_is_remarked_on(folder):
    edit(folder, eos_token_id=None)
    (note,) = LanguageModel.facts(spec(folder), Headers()).notes
    assert (note.code, note.severity) == ("L322", "warning")


def test_without_mlx_lm_its_architectures_are_unknown(folder, monkeypatch):
    monkeypatch.setattr(architecture, "folder", lambda: None)
    (note,) = LanguageModel.facts(spec(folder), Headers()).notes
    assert (note.code, note.severity) == ("L321", "warning")


# Loading is strict


def test_missing_unexpected_and_misshapen_tensors_are_all_named(folder):
    def change(state):
        state["model.layers.0.mlp.up_proj.bias"] = torch.zeros(3)
        state["model.layers.0.self_attn.k_norm.weight"] = torch.zeros(8)
        without(state, "model.norm.weight", "model.layers.1.self_attn.q_norm.weight")

    rename(folder, change)
    with pytest.raises(ComposerError) as caught:
        load(folder)
    assert str(caught.value) == (
        "R511 2 tensors are missing: model.layers.1.self_attn.q_norm.weight, model.norm.weight\n"
        "R511 1 tensor is unexpected: model.layers.0.mlp.up_proj.bias\n"
        "R511 model.layers.0.self_attn.k_norm.weight has the shape [8], but the model has [16]"
    )


def test_a_tensor_that_mlx_lm_would_drop_is_refused(tmp_path):
    folder = save(torch_model("llama"), tmp_path / "lm")
    inverse = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)}
    rename(folder, lambda state: state.update(inverse))
    load(folder)
    checkpoint = read_checkpoint(spec(folder).weights, Headers())
    names = {"lm_head.weight": None, "model.norm.weight": None}
    with pytest.raises(ComposerError, match=r"R511 1 tensors are not part .*: lm_head.weight"):
        sanitize(build(checkpoint), names)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text"])
def test_a_head_that_is_stored_is_the_head_where_the_config_is_silent(tmp_path, kind):
    model = torch_model(kind, tied=False)
    folder = edit(save(model, tmp_path / kind), tie_word_embeddings=None)
    lm = load(folder)
    assert greedy(lm, lm.embed(mx.array(IDS))) == greedy_of_torch(model)


def test_a_config_that_mlx_lm_cannot_use_is_refused(folder):
    edit(folder, head_dim="16")
    with pytest.raises(ComposerError, match="W241 head_dim is 16; expected a whole number"):
        load(folder)


def test_equal_axes_of_positions_are_plain_positions(qwen3, expected, tmp_path):
    model, _, _ = qwen3
    axes = {"mrope_section": [2, 3, 3], "mrope_interleaved": True, "rope_type": "default"}
    folder = save(model, tmp_path / "lm", rope_parameters=None, rope_scaling=axes)
    lm = load(folder)
    assert greedy(lm, lm.embed(mx.array(IDS))) == expected


def test_an_architecture_that_scales_ids_alone_is_refused(folder, monkeypatch):
    from mlx_lm.models import qwen3 as module

    def scaled(self, inputs, cache=None, input_embeddings=None):
        if input_embeddings is None:
            input_embeddings = self.embed_tokens(inputs) * 8
        for layer in self.layers:
            input_embeddings = layer(input_embeddings, None, None)
        return self.norm(input_embeddings)

    monkeypatch.setattr("composer.components.mlx.lm.TESTED", frozenset())
    load(folder)
    monkeypatch.setattr(module.Qwen3Model, "__call__", scaled)
    with pytest.raises(ComposerError, match="R517 mlx-lm's qwen3 changes embeddings before"):
        load(folder)


def test_shards_are_read_together(folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    places = {}
    for number, part in enumerate((names[:5], names[5:]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "mlx"})
        places |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    lm = load(folder)
    assert len(greedy(lm, lm.embed(mx.array(IDS)), 3)) == 3


def test_nothing_random_is_computed_on_the_way(folder, monkeypatch):
    """A model's own initial values would double the memory: they are never evaluated."""
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    lm = load(folder)
    size = sum(value.nbytes for _, value in tree_flatten(lm.model.parameters()))
    assert mx.get_peak_memory() - before < 1.3 * size

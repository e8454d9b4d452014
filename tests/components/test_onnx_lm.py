"""onnx.lm against transformers, and against mlx.lm on what MLX has quantized."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from test_mlx_lm import (
    EOS,
    IDS,
    ROWS,
    SCHEMES,
    WIDTH,
    edit,
    f32,
    greedy,
    greedy_of_torch,
    outputs,
    quantized,
    rename,
    save,
    torch_model,
    without,
)
from test_mlx_lm import load as load_mlx
from test_mlx_lm import spec as plain_spec

import composer
from composer.components.checkpoints import affine
from composer.components.models import decoder, llama, rotary
from composer.components.onnx import weights
from composer.components.onnx.lm import LanguageModel
from composer.components.onnx.proto import Model
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats import Headers
from composer.formats.quantization import Scheme
from composer.generation.decoder import Prompt, State
from composer.generation.engine import Engine, Request
from composer.generation.sampler import Sampling
from composer.generation.stop import Stop
from composer.manifest.entries import Quantization

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIG = LanguageModel.Config
MINI = Path("bundles/mega-asr-mini")


def spec(folder, precision=None, files=None, activations="float32"):
    asked = plain_spec(folder, precision, files)
    return replace(asked, config=CONFIG(activations=activations))


def facts_of(folder, **more):
    return LanguageModel.facts(spec(folder, **more), Headers())


def load(folder, placement=None, **more):
    asked = spec(folder, **more)
    placement = placement or Placement(threads=1)
    return LanguageModel.load(asked, LanguageModel.facts(asked, Headers()), placement)


def error_text(folder, **more):
    with pytest.raises(ComposerError) as caught:
        facts_of(folder, **more)
    return str(caught.value).replace(f"repo/{folder.name}", "repo/lm")


def logits_of_torch(model, ids=IDS):
    with torch.no_grad():
        return model(torch.tensor(ids)[None]).logits[0].numpy()


def separate_store(found, wanted):
    """Return the largest difference, as a part of the largest number."""
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def qwen3(home):
    model = torch_model()
    folder = save(model, home / "qwen3")
    return model, load(folder), folder


@pytest.fixture(scope="module")
def expected(qwen3):
    return greedy_of_torch(qwen3[0])


@pytest.fixture
def lm(qwen3):
    qwen3[1].writer.prefix_cache.stored = None
    return qwen3[1]


@pytest.fixture
def folder(tmp_path):
    return save(torch_model(num_hidden_layers=2), tmp_path / "lm")


@pytest.fixture(scope="module")
def mixed(home):
    return quantized(torch_model(), home / "mixed", *SCHEMES["mixed 8-4"])


# The same numbers as transformers


@pytest.mark.parametrize("kind", ["qwen3", "qwen2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_computes_what_transformers_computes(tmp_path, kind, tied):
    model = torch_model(kind, tied)
    lm = load(save(model, tmp_path / kind))
    embeds = lm.embed(IDS)
    table = model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(embeds, table[IDS])
    theirs = logits_of_torch(model)
    for _ in range(2):  # the second time shows that nothing was changed in place
        assert separate_store(lm.logits(embeds), theirs) < 1e-5
    assert greedy(lm, embeds) == greedy_of_torch(model)


@pytest.mark.parametrize("more", [{"head_dim": 32}, {"num_key_value_heads": 4}])
def test_heads_may_have_any_width_and_number(tmp_path, more):
    model = torch_model(**more)
    lm = load(save(model, tmp_path / "lm"))
    assert separate_store(lm.logits(lm.embed(IDS)), logits_of_torch(model)) < 1e-5


@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
def test_the_chunk_of_the_prefill_changes_nothing(qwen3, lm, expected, chunk, monkeypatch):
    monkeypatch.setattr(lm.decoder, "chunk", chunk)
    embeds, theirs = lm.embed(IDS), logits_of_torch(qwen3[0])
    state = lm.decoder.prefill(Prompt({"embeds": embeds}))
    assert separate_store(lm.decoder.logits(state), theirs[-1]) < 1e-5
    assert separate_store(lm.logits(embeds), theirs) < 1e-5
    assert greedy(lm, embeds) == expected


def test_steps_give_the_logits_of_the_whole(lm):
    embeds = lm.embed(IDS)
    whole = lm.logits(embeds)
    with_step_options = lm.replay(embeds[:5], IDS[5:])
    assert separate_store(with_step_options, whole[4:-1]) < 1e-5
    assert lm.replay(embeds, IDS[:0]).shape == (0, ROWS)


def test_a_cache_grows_over_its_room(tmp_path):
    model = torch_model(num_hidden_layers=1, max_position_embeddings=1024)
    lm = load(save(model, tmp_path / "lm"))
    ids = np.random.default_rng(3).integers(3, ROWS, 700)
    theirs = logits_of_torch(model, ids)
    assert separate_store(lm.logits(lm.embed(ids)), theirs) < 2e-5
    cache = lm.decoder.begin()
    capacities = set()
    for part in np.array_split(lm.embed(ids), 7):
        last = lm.decoder.read(part, cache)
        capacities.add(cache.capacity)
    assert separate_store(last[0], theirs[-1]) < 2e-5
    assert (cache.length, capacities) == (700, {256, 512, 1024})


@pytest.mark.parametrize(
    "rules",
    [
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ],
)
def test_scaled_positions_are_those_of_transformers(tmp_path, rules):
    model = torch_model("llama", rope_parameters={"rope_theta": 10000.0, **rules})
    scaled = load(save(model, tmp_path / "lm", rope_scaling=rules))
    embeds = scaled.embed(IDS)
    assert separate_store(scaled.logits(embeds), logits_of_torch(model)) < 1e-5
    plain = load(edit(tmp_path / "lm", rope_scaling=None))
    assert separate_store(plain.logits(embeds), logits_of_torch(model)) > 1e-3


# What must be noticed


def test_scaled_embeddings_are_another_space(qwen3, lm):
    assert separate_store(lm.logits(lm.embed(IDS) * 8), logits_of_torch(qwen3[0])) > 1e-2


def test_positions_off_by_one_are_far_away(qwen3, lm):
    embeds, theirs = lm.embed(IDS), logits_of_torch(qwen3[0])
    cache = lm.decoder.begin()
    lm.decoder.read(embeds[:8], cache)
    cache.length -= 1
    assert separate_store(lm.decoder.read(embeds[8:], cache)[0], theirs[-1]) > 1e-3


def test_a_norm_that_is_left_out_is_far_away(qwen3, monkeypatch):
    def forward(v, settings, x):
        return llama.forward(v, replace(settings, qk_norm=False), x)

    architecture = replace(llama.ARCHITECTURE, forward=forward)
    monkeypatch.setitem(decoder.architectures(), "qwen3", architecture)
    lm = load(qwen3[2])
    assert separate_store(lm.logits(lm.embed(IDS)), logits_of_torch(qwen3[0])) > 1e-2


def test_a_wrong_zero_point_is_far_away(mixed, monkeypatch):
    right = load(mixed)
    embeds = right.embed(IDS)
    genuine = affine.residual_offset
    monkeypatch.setattr(affine, "residual_offset", lambda s, b, scheme: genuine(s, b, scheme) + s)
    assert separate_store(load(mixed).logits(embeds), right.logits(embeds)) > 1e-2


def test_positions_at_another_base_are_far_away(qwen3, monkeypatch):
    monkeypatch.setattr(rotary.Rotary, "frequencies", lambda self: np.ones(self.dims // 2))
    lm = load(qwen3[2])
    assert separate_store(lm.logits(lm.embed(IDS)), logits_of_torch(qwen3[0])) > 1e-2


# Quantized checkpoints


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("tied", [True, False])
def test_quantized_weights_are_those_of_mlx(tmp_path, name, tied):
    folder = quantized(torch_model(tied=tied), tmp_path / "lm", *SCHEMES[name])
    ours, theirs = load(folder), load_mlx(folder)
    embeds, ids = ours.embed(IDS), mx.array(IDS)
    assert separate_store(embeds, f32(theirs.embed(ids))) < 1e-6
    assert separate_store(ours.logits(embeds), f32(theirs.logits(theirs.embed(ids)))) < 1e-5
    assert greedy(ours, embeds) == greedy(theirs, theirs.embed(ids))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scales_of_half_width_are_taken_exactly(tmp_path, dtype):
    """There MLX's biases are no whole multiples of their scales any more."""
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    made, config = load_model(save(torch_model(), tmp_path / "lm", dtype))
    made, config = quantize_model(made, config, *SCHEMES["mixed 8-4"][:2],
                                  quant_predicate=SCHEMES["mixed 8-4"][2])  # fmt: skip
    save_model(tmp_path / "lm", made)
    save_config(config, tmp_path / "lm/config.json")
    (tmp_path / "lm/model.safetensors.index.json").unlink()
    ours, theirs = load(tmp_path / "lm"), load_mlx(tmp_path / "lm", "float32")
    wanted = f32(theirs.logits(theirs.embed(mx.array(IDS))))
    embeds = ours.embed(IDS)
    assert separate_store(ours.logits(embeds), wanted) < 1e-5
    assert greedy(ours, embeds) == greedy(theirs, theirs.embed(mx.array(IDS)))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_packed_rows_are_read_as_mlx_reads_them(bits, size):
    scheme = Scheme(bits, size, "affine")
    rows = mx.random.normal((6, 384), key=mx.random.key(1))
    weight, scales, biases = map(np.array, mx.quantize(rows, group_size=size, bits=bits))
    wanted = np.array(mx.dequantize(*map(mx.array, (weight, scales, biases)), size, bits))
    np.testing.assert_allclose(affine.dense(weight, scales, biases, scheme), wanted, atol=1e-6)
    codes = affine.codes(weight, scheme)
    assert codes.shape == (6, 384 // size, size * bits // 8)
    if bits == 8:
        codes = codes.astype(np.float32) - 128
    else:
        codes = np.stack([codes & 15, codes >> 4], -1).reshape(6, -1, size).astype(np.float32) - 8
    offset = affine.residual_offset(scales, biases, scheme)
    found = codes * scales[..., None] + offset[..., None]
    np.testing.assert_allclose(found.reshape(6, -1), wanted, atol=1e-5)


def test_int8_activations_are_another_choice(mixed):
    exact, quick = load(mixed), load(mixed, activations="int8")
    embeds = exact.embed(IDS)
    assert 1e-4 < separate_store(quick.logits(embeds), exact.logits(embeds)) < 0.1
    assert facts_of(mixed, activations="int8").nbytes < facts_of(mixed).nbytes


def test_what_is_widened_is_told_and_counted(mixed, tmp_path):
    facts = facts_of(mixed)
    assert facts.casts == (
        "8 bits -> f32, exactly, in 12 modules: 0.0461 MB stored, 0.147 MB loaded",
    )
    assert facts_of(mixed, activations="int8").casts == facts.notes == ()
    half = save(torch_model(num_hidden_layers=1), tmp_path / "half", torch.bfloat16)
    facts = facts_of(half)
    assert facts.casts[0].startswith("bf16 -> f32, exactly, in 13 modules: ")
    stored = Headers().safetensors(spec(half).weights).values()
    assert (facts.dtype, facts.nbytes) == ("f32", 2 * sum(tensor.nbytes for tensor in stored))


def test_bfloat16_is_widened_exactly(tmp_path):
    model = torch_model()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(value.bfloat16())
    lm = load(save(model, tmp_path / "lm", torch.bfloat16))
    embeds = lm.embed(IDS)
    np.testing.assert_array_equal(embeds, model.get_input_embeddings().weight.detach()[IDS])
    assert separate_store(lm.logits(embeds), logits_of_torch(model)) < 1e-5


# generate


def test_it_streams_tokens_and_returns_text_ids_and_reason(lm):
    tokens, result = outputs(lm.generate(lm.embed(IDS), max_tokens=5))
    assert [token.id for token in tokens] == result["ids"].tolist()
    assert "".join(token.text for token in tokens) == result["text"]
    assert (result["ids"].dtype, result["finish_reason"]) == (np.int64, "length")


def test_several_requests_in_flight_equal_their_solo_runs(lm):
    prompts = [lm.embed(IDS[:size]) for size in (17, 1, 8)]
    counts = (12, 3, 7)
    alone = [greedy(lm, *each) for each in zip(prompts, counts, strict=True)]
    engine = Engine(lm.decoder, lm.tokenizer)
    answers = []
    for prompt, count in zip(prompts, counts, strict=True):
        given = Prompt({"embeds": prompt})
        answers.append(engine.admit(Request(given, Sampling(), Stop(lm.stop, count))))
        engine.advance()
    while engine.busy:
        engine.advance()
    assert [answer.ids for answer in answers] == alone


def test_sampling_is_decided_by_its_seed(lm):
    embeds = lm.embed(IDS)

    def draw(**options):
        return outputs(lm.generate(embeds, max_tokens=12, **options))[1]["ids"].tolist()

    hot = draw(temperature=2.0, seed=1)
    assert hot == draw(temperature=2.0, seed=1) != draw(temperature=2.0, seed=2)
    assert draw(temperature=2.0, top_k=1) == greedy(lm, embeds, 12)


def test_a_kept_cache_changes_nothing_and_reads_only_what_is_new(lm, monkeypatch):
    read, genuine = [], lm.decoder.prefill
    monkeypatch.setattr(
        lm.decoder,
        "prefill",
        lambda prompt, cache=None: read.append(len(prompt)) or genuine(prompt, cache),
    )

    def messages(ids, reuse_cache):
        return outputs(lm.generate(lm.embed(ids), max_tokens=6, reuse_cache=reuse_cache))[1]["ids"]

    history = IDS[:9]
    for turn in (IDS[3:8], IDS[6:13]):
        answer = messages(history, reuse_cache=True)
        assert answer.tolist() == messages(history, reuse_cache=False).tolist()
        history = np.concatenate([history, answer, turn])
    messages(history, reuse_cache=True)
    messages(
        np.concatenate([history[:10], IDS[:4]]), reuse_cache=True
    )  # trimmed: 10 rows are the same
    assert read == [9, 9, 6, 20, 8, 4]


def test_prompts_side_by_side_do_not_share_a_kept_cache(lm):
    runs = [lm.generate(lm.embed(IDS), max_tokens=8, reuse_cache=True) for _ in range(3)]
    found = [[next(run).id for run in runs] for _ in range(8)]
    assert all(len(set(tokens)) == 1 for tokens in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "R510 temperature is -1.0; it must be 0 or more"),
        ({"stop": ("<end>",)}, "R516 stop '<end>' is not a token of this model"),
        ({"reasoning": ("w3", "<end>")}, "R565 reasoning '<end>' is not a token of this model"),
    ],
)
def test_bad_options_are_refused_before_anything_is_computed(lm, options, message):
    with pytest.raises(ComposerError) as caught:
        lm.generate(lm.embed(IDS), **options)
    assert str(caught.value).startswith(message)


def test_ids_outside_the_vocabulary_are_refused(lm):
    with pytest.raises(ComposerError, match=f"R513 ids {ROWS}, -1 are outside the vocabulary"):
        lm.embed(np.array([1, ROWS, -1]))


def test_positions_are_counted(folder):
    lm = load(edit(folder, max_position_embeddings=20))
    tokens, result = outputs(lm.generate(lm.embed(IDS)))
    assert (len(tokens), result["finish_reason"]) == (3, "length")
    with pytest.raises(ComposerError, match="R514 the prompt has 20 positions"):
        next(lm.generate(lm.embed(np.full(20, 5))))
    with pytest.raises(ComposerError, match="R514 there are no embeddings to continue"):
        next(lm.generate(lm.embed(np.zeros(0, np.int64))))


def test_overflow_is_an_error_not_a_text(lm):
    with pytest.raises(ComposerError, match="R512 the decoder's logits are not numbers"):
        next(lm.generate(np.full((3, WIDTH), np.nan, np.float32)))
    for odd in ([0.0, np.inf], [1.0, np.nan]):
        with pytest.raises(ComposerError, match="R512"):
            lm.decoder.greedy([State(None, np.array(odd, np.float32))])
    assert lm.decoder.greedy([State(None, np.array([0.0, 2.0, -np.inf]))]) == [1]


# Headers


def test_facts_come_from_headers_alone(qwen3):
    facts = facts_of(qwen3[2])
    assert {symbol: bound.value for symbol, bound in facts.dims.items()} == {"D": WIDTH, "V": ROWS}
    assert facts.dims["D"].witness == "repo/qwen3: model.embed_tokens.weight [192, 64]"
    assert (facts.dtype, facts.notes) == ("f32", ())
    stored = Headers().safetensors(spec(qwen3[2]).weights)
    assert facts.nbytes == sum(tensor.nbytes for tensor in stored.values())
    assert LanguageModel.facts(spec(qwen3[2]), None).unknown


def test_facts_import_no_backend(qwen3):
    code = f"""
import sys
from pathlib import Path
from composer.core.component import Spec
from composer.components.onnx.lm import LanguageModel
from composer.formats import Headers
from composer.core.location import Location
spec = Spec("decoder", LanguageModel.Config(), Location("repo", "", Path({str(qwen3[2])!r})))
print(LanguageModel.facts(spec, Headers()).dims["D"].value)
print(sorted({{"mlx", "mlx_lm", "onnx", "onnxruntime", "tokenizers", "torch"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{WIDTH}\n[]\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "gear"},
            "repo/lm/config.json: W254 composer has no network of its own for the model_type "
            f"'gear'\n    it has {', '.join(sorted(decoder.architectures()))}\n"
            "    hint: use mlx.lm, which takes what mlx-lm knows",
        ),
        ({"model_type": None}, "W254 composer has no network of its own for the model_type 'None'"),
        ({"hidden_act": "gelu"}, "W257 composer's qwen3 computes silu, and hidden_act is gelu"),
        (
            {"clip_qkv": 4.0},
            "W257 composer's qwen3 does not read clip_qkv, which is 4.0\n    hint: if it changes "
            "nothing in these weights, name it in `ignore` of the component's config",
        ),
        (
            {"layer_types": ["sliding_attention"] * 2},
            "W257 layer_types has sliding_attention, but there is no window that is used",
        ),
        ({"intermediate_size": None}, "W258 intermediate_size is missing, and composer's qwen3"),
        ({"attention_bias": 1}, "W241 attention_bias is 1; expected true or false"),
        (
            {"rope_scaling": {"rope_type": "longrope", "factor": 4.0}},
            "W257 composer's qwen3 does not compute the rope scaling 'longrope'",
        ),
        (
            {"rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": "yarn"}},
            "W249 rope_scaling has mrope_section and the type 'yarn'",
        ),
        ({"rope_theta": 5000.0}, "W241 rope_theta is 5000.0 and, in rope_parameters, 10000.0"),
        ({"rope_scaling": {"rope_type": "linear"}}, "W241 factor is missing; expected a number"),
        ({"rms_norm_eps": "x"}, "W241 rms_norm_eps is x; expected a number above 0"),
        (
            {"num_attention_heads": 0},
            "W241 num_attention_heads is 0; expected a whole number from 1",
        ),
        ({"num_key_value_heads": 3}, "W241 4 heads cannot share 3 heads of keys"),
        ({"head_dim": 8}, "W255 model.layers.0.self_attn.q_proj.weight has the shape [64, 64], but "
         "the model has [32, 64]"),
        ({"hidden_size": 128}, "W241 hidden_size is 128 but the embeddings have 64\n"),
        ({"tie_word_embeddings": False}, "W242 tie_word_embeddings is false but there is no"),
    ],
)  # fmt: skip
def test_a_config_that_it_would_not_compute_is_refused(folder, changes, message):
    edit(folder, **changes)
    assert message in error_text(folder)


def test_a_refusal_names_the_line_of_its_key(folder):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), "hidden_act": "gelu", "clip_qkv": 4.0}
    path.write_text(json.dumps(config, indent=1))
    lines = path.read_text().splitlines()
    messages = error_text(folder)
    for key, what in (("hidden_act", "computes silu"), ("clip_qkv", "does not read clip_qkv")):
        (line,) = (number for number, text in enumerate(lines, 1) if f'"{key}"' in text)
        assert f"repo/lm/config.json:{line}:2: W257 composer's qwen3 {what}" in messages


def test_missing_unexpected_and_misshapen_tensors_are_all_named(folder):
    def change(state):
        state["model.layers.0.mlp.up_proj.bias"] = torch.zeros(3)
        state["model.layers.0.self_attn.k_norm.weight"] = torch.zeros(8)
        state["model.layers.1.self_attn.rotary_emb.inv_freq"] = torch.zeros(8)
        without(state, "model.norm.weight", "model.layers.1.self_attn.q_norm.weight")

    rename(folder, change)
    assert error_text(folder) == (
        "repo/lm/config.json: W255 2 tensors are missing: "
        "model.layers.1.self_attn.q_norm.weight, model.norm.weight\n"
        "repo/lm/config.json: W255 1 tensor is unexpected: model.layers.0.mlp.up_proj.bias\n"
        "repo/lm/config.json: W255 model.layers.0.self_attn.k_norm.weight has the shape [8], but "
        "the model has [16]\n    model.layers.0.self_attn.k_norm.weight f32 [8]"
    )


@pytest.mark.parametrize("bits", [2, 3, 6])
def test_packings_that_it_does_not_multiply_are_refused(tmp_path, bits):
    folder = quantized(torch_model(), tmp_path / "lm", 64, bits, None)
    assert (
        f"W256 model.embed_tokens is {bits} bits, affine, which composer does not compute\n"
        "    hint: quantize to 4 or 8 bits, affine, by mlx_lm.convert, or use mlx.lm"
    ) in error_text(folder)


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("bfloat16", "W246 onnx.lm computes in float32, not bfloat16\n"),
        ("float16", "W246 onnx.lm computes in float32, not float16\n"),
        (Quantization(4, 64), "W246 onnx.lm quantizes nothing itself\n"),
    ],
)
def test_only_float32_can_be_asked_for(folder, precision, message):
    assert message in error_text(folder, precision=precision)
    assert facts_of(folder, precision="float32") == facts_of(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    assert "W245 there is no repo/lm/tokenizer.json" in error_text(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_changed_since_the_check_is_refused(folder, name):
    asked = spec(folder)
    facts = LanguageModel.facts(asked, Headers())
    os.utime(folder / name, (1, 1))
    with pytest.raises(ComposerError, match=f"R530 repo/lm/{name}: changed after it was checked"):
        LanguageModel.load(asked, facts, Placement())


def test_a_table_that_changes_while_it_is_read_is_refused(folder):
    lm = load(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ComposerError, match=r"R530 .*: changed while it was being read"):
        lm.embed(IDS)


# Loading


def test_nothing_is_left_on_the_disk(folder, tmp_path, monkeypatch):
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    seen = []
    genuine = weights.Weights.close
    monkeypatch.setattr(
        weights.Weights, "close", lambda self: seen.extend(os.listdir(self.folder)) or genuine(self)
    )
    lm = load(folder)
    assert seen == ["weights.bin"]
    assert os.listdir(room) == []
    assert len(greedy(lm, lm.embed(IDS), 3)) == 3


def test_a_full_disk_is_told(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(ComposerError) as caught:
        load(folder)
    assert str(caught.value) == (
        "R590 0.00 GB of weights could not be written down for ONNX Runtime: No such file or "
        "directory\n    hint: TMPDIR names the folder: point it at one with room on a disk"
    )


def test_only_the_cpu_is_offered(folder):
    with pytest.raises(ComposerError, match=r"R531 repo/lm: onnx.lm has no kernels for the exec"):
        load(folder, Placement(providers=("CUDAExecutionProvider",)))
    assert load(folder, Placement(providers=("CPUExecutionProvider",), threads=2)).stop == {EOS}


def test_what_onnx_runtime_refuses_is_told(folder, monkeypatch):
    genuine = Model.serialized
    monkeypatch.setattr(Model, "serialized", lambda self: genuine(self)[:-20])
    with pytest.raises(ComposerError, match="R532 repo/lm: ONNX Runtime cannot load its graph"):
        load(folder)


def test_a_run_that_fails_is_told(lm):
    with pytest.raises(ComposerError, match="R533 repo/qwen3: ONNX Runtime failed: "):
        lm.logits(np.zeros((2, WIDTH + 1), np.float32))


def test_the_model_is_what_onnx_says_a_model_is():
    import onnx

    made = Model("data")
    made.add_input("x", "float32", ["S", 2])
    made.add_output("y", "float32", ["S", 2])
    made.constant("shape", np.array([0, -1], np.int64))
    made.external("w", "float32", [300, 2], 4096, 2400)
    made.node("Reshape", ["x", "shape"], ["y"], allowzero=0)
    made.node("QuickGelu", ["x"], ["z"], "com.microsoft", alpha=1.5, beta=-1)
    found = onnx.load_from_string(made.serialized())
    assert [tensor.name for tensor in found.graph.initializer] == ["shape", "w"]
    assert onnx.numpy_helper.to_array(found.graph.initializer[0]).tolist() == [0, -1]
    external = {entry.key: entry.value for entry in found.graph.initializer[1].external_data}
    assert external == {"location": "data", "offset": "4096", "length": "2400"}
    assert list(found.graph.initializer[1].dims) == [300, 2]
    gelu = {a.name: onnx.helper.get_attribute_value(a) for a in found.graph.node[1].attribute}
    assert gelu == {"alpha": 1.5, "beta": -1}
    assert found.graph.node[1].domain == "com.microsoft"
    dims = found.graph.input[0].type.tensor_type.shape.dim
    assert [dims[0].dim_param, dims[1].dim_value] == ["S", 2]
    assert {opset.domain: opset.version for opset in found.opset_import} == {
        "": 18,
        "com.microsoft": 1,
    }


# A bundle


def test_the_miniature_says_the_same_on_onnx_runtime():
    lines = (MINI / "clips/references.jsonl").read_text().splitlines()
    clips = [MINI / "clips" / json.loads(line)["audio"] for line in lines]
    texts = {}
    for backend in ("mlx", "onnx"):
        with composer.load(MINI, backends={"decoder": backend}) as bundle:
            texts[backend] = [bundle.run(audio=clip).text for clip in clips]
    assert bundle.checked.components["decoder"].cls is LanguageModel
    assert texts["mlx"] == texts["onnx"]
    assert len(set(texts["mlx"])) > 3


def test_adapters_are_refused_when_a_bundle_is_checked(tmp_path):
    text = (MINI / "bundle.yaml").read_text().replace("use: mlx.lm", "use: onnx.lm")
    text = text.replace("use: lm", "use: onnx.lm")
    text = text.replace("    precision: float32", "    adapters: {a: {weights: repo/mlx}}\n    #")
    (tmp_path / "bundle.yaml").write_text(text)
    report = composer.check(tmp_path / "bundle.yaml", sources={"repo": MINI})
    (problem,) = [each for each in report.problems if each.severity == "error"]
    assert (problem.code, problem.message) == ("W215", "onnx.lm does not read 'adapters'")

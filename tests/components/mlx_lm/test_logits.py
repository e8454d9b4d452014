"""mlx.lm computes what transformers computes, however a prompt is cut into chunks."""

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.generation.decoder import DecoderInput
from tests.components.mlx_lm.models import (
    IDS,
    KINDS,
    WIDTH,
    f32,
    greedy,
    greedy_of_torch,
    load,
    save,
    together,
    torch_model,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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
        state = lm.decoder.prefill(DecoderInput({"input_embeddings": embeds}))
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
    given = [DecoderInput({"input_embeddings": prompt}) for prompt in prompts]
    assert together(lm, given, counts) == alone

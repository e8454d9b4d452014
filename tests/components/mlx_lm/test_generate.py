"""Tokens that stream, stop, are sampled, and options that are refused."""

import json

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.core.errors import ComposerError
from composer.generation.decoder import SequenceState
from tests.components.mlx_lm.models import EOS, IDS, ROWS, WIDTH, edit, greedy, load
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_reasoning_is_no_text(qwen3):
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
        lm.decoder.greedy([SequenceState([], mx.array([0.0, mx.inf]))])
    assert lm.decoder.greedy([SequenceState([], mx.array([0.0, 2.0, -mx.inf]))]) == [1]


def test_logits_that_are_all_zero_are_an_error_not_the_first_token(qwen3):
    _, lm, _ = qwen3
    with pytest.raises(ComposerError, match="R512 the decoder's logits are all 0"):
        next(lm.generate(mx.zeros((3, WIDTH))))

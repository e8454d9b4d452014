"""A conversation over a kept cache against the same one without, on tiny random models."""

import mlx.core as mx
import numpy as np
import pytest

from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.generation.decoder import DecoderInput
from composer.generation.prefix_cache import row_digests
from tests.components import gemma4_models as gemma4
from tests.components.mlx_lm.models import load, save, torch_model
from tests.streams import outputs

TURNS = [np.random.default_rng(turn).integers(3, 90, size) for turn, size in enumerate((9, 5, 7))]
SLIDING = ("gemma3_text", "gemma4_text")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("kept")
    kinds = {"qwen3": {}, "gemma3_text": {"sliding_window": 24}}
    made = {
        kind: load(save(torch_model(kind, num_hidden_layers=3, **more), home / kind))
        for kind, more in kinds.items()
    }
    return made | {"gemma4": gemma4.load(gemma4.save(gemma4.torch_model(), home / "gemma4"))}


@pytest.fixture(params=["qwen3", "gemma3_text", "gemma4"])
def lm(request, models):
    return fresh(models[request.param])


@pytest.fixture
def qwen3(models):
    return fresh(models["qwen3"])


def fresh(lm):
    """Forget what earlier tests kept, and count the rows that are read from now on."""
    prefix_cache = lm.writer.prefix_cache
    prefix_cache.stored = None
    lm.read = []
    decoder = prefix_cache.decoder
    prefill_parts = type(decoder).prefill_parts

    def counted(prompt, cache=None):
        lm.read.append(len(prompt))
        return prefill_parts(decoder, prompt, cache)

    decoder.prefill_parts = counted
    return lm


def embeds(lm, ids):
    return lm.embed(mx.array(np.asarray(ids)))


def given(lm, ids):
    """Return all that a model takes for ids, by its ports."""
    found = {"embeds": embeds(lm, ids)}
    if hasattr(lm, "per_layer"):
        found["per_layer"] = lm.per_layer(mx.array(np.asarray(ids)))
    return found


def prompt_of(lm, ids):
    keywords = {"embeds": "input_embeddings", "per_layer": "per_layer_inputs"}
    rows = {keywords[port]: rows for port, rows in given(lm, ids).items()}
    return DecoderInput(rows, reuse_cache=True)


def messages(lm, ids, reuse_cache=True, count=12, **options):
    options = {"max_tokens": count, **options}
    return outputs(lm.generate(**given(lm, ids), reuse_cache=reuse_cache, **options))[1]["ids"]


def talk(lm, reuse_cache, turns=TURNS):
    """Return what was asked and answered, over all turns."""
    history = np.zeros(0, np.int64)
    for turn in turns:
        prompt_ids = np.concatenate([history, turn])
        history = np.concatenate([prompt_ids, messages(lm, prompt_ids, reuse_cache)])
    return history


def test_a_conversation_says_the_same_and_reads_only_what_is_new(lm):
    expected = talk(lm, reuse_cache=False)
    first, second, third = (len(turn) for turn in TURNS)
    assert lm.read[0] == first
    answers = [lm.read[1] - lm.read[0] - second, lm.read[2] - lm.read[1] - third]
    lm.read.clear()
    assert talk(lm, reuse_cache=True).tolist() == expected.tolist()
    # The last token of an answer that was cut, here after 12, is not read yet.
    cut = [length == 12 for length in answers]
    assert lm.read == [first, second + cut[0], third + cut[1]]


def test_an_answer_that_ended_is_read_already(qwen3):
    prompt_ids = TURNS[0]
    whole = messages(qwen3, prompt_ids, reuse_cache=False)
    end = int(whole[6])
    answer = messages(qwen3, prompt_ids, stop=(end,))
    assert answer.tolist() == whole[: whole.tolist().index(end)].tolist()
    again = np.concatenate([prompt_ids, answer, TURNS[1]])
    qwen3.read.clear()
    kept = messages(qwen3, again)
    assert qwen3.read == [len(TURNS[1])]
    assert kept.tolist() == messages(qwen3, again, reuse_cache=False).tolist()


def test_logits_over_a_kept_cache_are_those_without(lm):
    """Beyond rounding: a cache that has read one row too many, or too few, is far away."""
    ids = talk(lm, reuse_cache=True)
    prefix_cache = lm.writer.prefix_cache
    prompt = prompt_of(lm, [*ids, 5, 6])
    lm.read.clear()
    kept = np.array(prefix_cache.prefill(prompt).logits)
    assert lm.read[0] in (2, 3)  # the last token of an answer that was cut is new
    new_process = np.array(prefix_cache.decoder.prefill(prompt).logits)
    np.testing.assert_allclose(kept, new_process, atol=2e-5)
    shifted = prompt_of(lm, [*ids[1:], 5, 6])
    assert np.abs(np.array(prefix_cache.decoder.prefill(shifted).logits) - new_process).max() > 1e-2


def test_a_conversation_that_turns_back_is_trimmed_or_begins_anew(lm):
    """Only a cache that still holds all its rows can be trimmed."""
    history = talk(lm, reuse_cache=True)
    other = np.concatenate([history[:20], TURNS[1] + 1])
    lm.read.clear()
    kept = messages(lm, other)
    assert lm.read == [len(other) if lm.model.model_type in SLIDING else 5]
    assert kept.tolist() == messages(lm, other, reuse_cache=False).tolist()


def test_a_window_that_has_not_moved_can_be_trimmed(models):
    lm = fresh(models["gemma3_text"])
    messages(lm, TURNS[0], count=4)
    other = np.concatenate([TURNS[0][:7], TURNS[1]])
    lm.read.clear()
    assert messages(lm, other).tolist() == messages(lm, other, reuse_cache=False).tolist()
    assert lm.read == [5, len(other)]


def test_the_same_question_again_reads_its_last_row(qwen3):
    first = messages(qwen3, TURNS[0])
    qwen3.read.clear()
    assert messages(qwen3, TURNS[0]).tolist() == first.tolist()
    assert qwen3.read == [1]


def test_runs_side_by_side_do_not_share_a_cache(qwen3):
    history = talk(qwen3, reuse_cache=True, turns=TURNS[:1])
    prompt_ids = [np.concatenate([history, turn]) for turn in TURNS[1:]]
    expected = [messages(qwen3, ids, reuse_cache=False).tolist() for ids in prompt_ids]
    qwen3.read.clear()
    runs = [
        qwen3.generate(embeds(qwen3, ids), reuse_cache=True, max_tokens=12) for ids in prompt_ids
    ]
    found = [[], []]
    for _ in range(12):
        for tokens, run in zip(found, runs, strict=True):
            tokens.append(next(run).id)
    assert found == expected
    assert qwen3.read == [1 + len(TURNS[1]), len(prompt_ids[1])]
    for run, ids, tokens in zip(runs, prompt_ids, expected, strict=True):
        assert outputs(run)[1]["ids"].tolist() == tokens
        qwen3.read.clear()
        longer = np.concatenate([ids, tokens, [7]])
        if run is runs[-1]:  # the one that came back last is held
            assert (
                messages(qwen3, longer).tolist()
                == messages(qwen3, longer, reuse_cache=False).tolist()
            )
            assert qwen3.read[0] == 2


def test_an_answer_that_was_left_is_kept_as_far_as_it_came(qwen3):
    run = qwen3.generate(embeds(qwen3, TURNS[0]), reuse_cache=True, max_tokens=12)
    tokens = [next(run).id for _ in range(4)]
    run.close()
    again = np.concatenate([TURNS[0], tokens, TURNS[1]])
    qwen3.read.clear()
    assert messages(qwen3, again).tolist() == messages(qwen3, again, reuse_cache=False).tolist()
    assert qwen3.read[0] == len(TURNS[1])


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3, 6])
def test_a_run_that_fails_leaves_nothing_behind(qwen3, monkeypatch, fails_at):
    """In its prefill, between the layers of a step, or anywhere else."""
    history = talk(qwen3, reuse_cache=True, turns=TURNS[:2])
    prompt_ids = np.concatenate([history, TURNS[2]])
    expected = messages(qwen3, prompt_ids, reuse_cache=False).tolist()
    layer = type(qwen3.model.layers[0])
    genuine, calls = layer.__call__, []

    def failing(self, *given, **named):
        calls.append(self)
        if len(calls) > 4 + fails_at:  # three layers: the prefill's parts, then the steps
            raise MemoryError("no room")
        return genuine(self, *given, **named)

    monkeypatch.setattr(layer, "__call__", failing)
    with pytest.raises(MemoryError):
        messages(qwen3, prompt_ids)
    monkeypatch.undo()
    assert qwen3.writer.prefix_cache.stored is None
    qwen3.read.clear()
    assert messages(qwen3, prompt_ids).tolist() == expected
    assert qwen3.read == [len(prompt_ids)]


def test_a_step_that_failed_is_not_kept_whoever_gives_it_back(qwen3, monkeypatch):
    prefix_cache = qwen3.writer.prefix_cache
    state = prefix_cache.prefill(prompt_of(qwen3, TURNS[0]))
    monkeypatch.setattr(prefix_cache.decoder, "step", lambda states, tokens: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prefix_cache.step([state], [5])
    prefix_cache.retire(state)
    assert prefix_cache.stored is None


def test_what_cannot_run_leaves_the_conversation_alone(qwen3):
    history = talk(qwen3, reuse_cache=True, turns=TURNS[:1])
    with pytest.raises(ComposerError, match="R514"):
        messages(qwen3, np.full(600, 5))
    with pytest.raises(ComposerError, match="R516"):
        messages(qwen3, TURNS[0], stop=("no such",))
    messages(qwen3, TURNS[1], reuse_cache=False)
    qwen3.read.clear()
    messages(qwen3, [*history, 9])
    assert qwen3.read == [2]


def test_one_cache_is_kept_at_most(qwen3):
    prefix_cache = qwen3.writer.prefix_cache
    messages(qwen3, TURNS[0])
    first = prefix_cache.stored
    messages(qwen3, TURNS[1])
    assert prefix_cache.stored is not first
    assert prefix_cache.stored.logits is None


def test_other_adapters_begin_anew(qwen3, monkeypatch):
    prefix_cache = qwen3.writer.prefix_cache
    monkeypatch.setattr(prefix_cache.decoder, "switch", lambda names: None)
    rows = {"input_embeddings": embeds(qwen3, TURNS[0])}
    for adapters, reads in (((), 9), ((), 1), (("speech",), 9), (("speech",), 1), ((), 9)):
        qwen3.read.clear()
        prefix_cache.retire(prefix_cache.prefill(DecoderInput(rows, adapters, reuse_cache=True)))
        assert qwen3.read == [reads]


def test_one_bit_of_one_row_distinguishes_conversations(qwen3):
    prefix_cache = qwen3.writer.prefix_cache
    rows = embeds(qwen3, TURNS[0])
    messages(qwen3, TURNS[0])
    bits = np.array(rows.view(mx.uint32))
    bits[4, 17] ^= 1
    qwen3.read.clear()
    rows = {"input_embeddings": mx.array(bits).view(mx.float32)}
    prefix_cache.prefill(DecoderInput(rows, reuse_cache=True))
    assert qwen3.read == [9 - 4]


def test_a_quantized_table_gives_a_token_the_same_row_alone(tmp_path):
    folder = save(torch_model("qwen3", num_hidden_layers=2), tmp_path / "lm")
    rules = {"*": QuantizationRule(8, 32)}
    lm = fresh(load(folder, QuantizationRecipe(4, 32, rules)))
    expected = talk(lm, reuse_cache=False)
    lm.read.clear()
    assert talk(lm, reuse_cache=True).tolist() == expected.tolist()
    assert lm.read == [9, 6, 8]


def test_rows_are_distinguished_by_all_that_the_model_is_given(qwen3):
    def read(rows):
        return row_digests(rows, qwen3.decoder.bits)

    one = mx.arange(12, dtype=mx.float32).reshape(3, 4)
    two = mx.zeros((3, 2, 5), dtype=mx.bfloat16)
    both = read({"input_embeddings": one, "per_layer_inputs": two})
    assert len(set(both)) == 3
    assert read({"per_layer_inputs": two, "input_embeddings": one}) == both
    assert read({"input_embeddings": one[1:], "per_layer_inputs": two[1:]}) == both[1:]
    for name, other in (
        ("per_layer_inputs", two + 1),
        ("per_layer_inputs", two.astype(mx.float16)),
        ("per_layer_inputs", two.reshape(3, 10)),
        ("deepstack", mx.array([True, False, True])),
        ("position", mx.arange(3)),
    ):
        given = {"input_embeddings": one, "per_layer_inputs": two, name: other}
        assert not set(read(given)) & set(both)
    assert read({"input_embeddings": one[:0]}) == []


def test_one_row_beside_the_embeddings_distinguishes_conversations(models):
    """Rows of sound may stand in equal prompts with other per-layer rows."""
    lm = fresh(models["gemma4"])
    prefix_cache, prompt = lm.writer.prefix_cache, prompt_of(lm, TURNS[0][:6])
    for prefix, reads in (("per_layer_inputs", 6 - 2), (None, 6 - 2), (None, 1)):
        rows = dict(prompt.rows)
        if prefix:
            rows[prefix] = rows[prefix] + mx.array([0, 0, 1, 0, 0, 0]).reshape(6, 1, 1)
            prefix_cache.retire(prefix_cache.prefill(prompt))
        lm.read.clear()
        prefix_cache.retire(prefix_cache.prefill(DecoderInput(rows, reuse_cache=True)))
        assert lm.read == [reads]

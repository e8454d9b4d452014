"""Tokens that stream, are sampled, keep their cache, and options that are refused."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from composer.core.errors import ComposerError
from composer.generation.decoder import DecoderInput, SequenceState
from tests.components.mlx_lm.models import IDS, ROWS, WIDTH, edit, greedy, together
from tests.components.mlx_lm.models import load as load_on_mlx
from tests.components.onnx_lm.loading import load
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_streams_tokens_and_returns_text_ids_and_reason(lm):
    tokens, result = outputs(lm.generate(lm.embed(IDS), max_tokens=5))
    assert [token.id for token in tokens] == result["ids"].tolist()
    assert "".join(token.text for token in tokens) == result["text"]
    assert (result["ids"].dtype, result["finish_reason"]) == (np.int64, "length")


def test_several_requests_in_flight_equal_their_solo_runs(lm):
    prompts = [lm.embed(IDS[:size]) for size in (17, 1, 8)]
    counts = (12, 3, 7)
    alone = [greedy(lm, *each) for each in zip(prompts, counts, strict=True)]
    given = [DecoderInput({"embeds": prompt}) for prompt in prompts]
    assert together(lm, given, counts) == alone


def test_sampling_is_decided_by_its_seed(lm):
    embeds = lm.embed(IDS)

    def draw(**options):
        return outputs(lm.generate(embeds, max_tokens=12, **options))[1]["ids"].tolist()

    hot = draw(temperature=2.0, seed=1)
    assert hot == draw(temperature=2.0, seed=1) != draw(temperature=2.0, seed=2)
    assert draw(temperature=2.0, top_k=1) == greedy(lm, embeds, 12)


def test_a_kept_cache_changes_nothing_and_reads_only_what_is_new(lm, monkeypatch):
    read, genuine = [], lm.decoder.prefill_parts
    monkeypatch.setattr(
        lm.decoder,
        "prefill_parts",
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
            lm.decoder.greedy([SequenceState(None, np.array(odd, np.float32))])
    assert lm.decoder.greedy([SequenceState(None, np.array([0.0, 2.0, -np.inf]))]) == [1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("backend", ["mlx", "onnx"])
def test_a_weight_that_is_no_number_is_named(folder, mixed, tmp_path, value, backend):
    loads = {"mlx": load_on_mlx, "onnx": load}
    packed = shutil.copytree(mixed, tmp_path / "packed")
    for file, name in (
        (folder / "model.safetensors", "model.layers.1.mlp.down_proj.weight"),
        (packed / "model.safetensors", "model.layers.1.self_attn.q_proj.scales"),
    ):
        tensors = load_file(file)
        tensors[name] = tensors[name].copy()
        tensors[name][3, 0] = value
        save_file(tensors, file)
        lm = loads[backend](file.parent)
        embeds = lm.embed(lm.decoder.from_numpy(IDS))
        with pytest.raises(ComposerError) as caught:
            next(lm.generate(embeds))
        (problem,) = caught.value.problems
        assert problem.code == "R512"
        (cause,) = problem.causes
        assert cause.endswith(f"{name} holds numbers that are NaN or infinite")


def test_sound_weights_are_not_blamed(lm):
    with pytest.raises(ComposerError) as caught:
        next(lm.generate(np.full((3, WIDTH), np.nan, np.float32)))
    assert caught.value.problems[0].causes == ()


def test_logits_that_are_all_zero_are_an_error_not_the_first_token(lm):
    with pytest.raises(ComposerError, match="R512 the decoder's logits are all 0"):
        lm.decoder.greedy([SequenceState(None, np.zeros(9, np.float32))])


def test_a_checkpoint_of_zeros_writes_nothing(folder):
    file = edit(folder) / "model.safetensors"
    save_file({name: value * 0 for name, value in load_file(file).items()}, file)
    lm = load(file.parent)
    with pytest.raises(ComposerError, match="R512 the decoder's logits are all 0"):
        next(lm.generate(lm.embed(IDS)))

"""mlx.gemma4 against transformers, stage by stage, on tiny random models in float32."""

from copy import copy, deepcopy

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe
from composer.generation.decoder import DecoderInput
from composer.generation.engine import Engine, Request
from composer.generation.sampler import Sampling
from composer.generation.stop import StopRules
from tests.components.gemma4_models import (
    KINDS,
    PAD,
    ROWS,
    SMALL,
    WIDTH,
    WINDOW,
    facts,
    load,
    save,
    torch_model,
)
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = np.random.default_rng(0).integers(3, ROWS, 30)
MARKED = np.isin(np.arange(30), [4, 5, 6, 7, 8, 9, 10, 11, 12, 20])
SOUND = 90  # the placeholder's id, which stands in the ids where sound goes
IDS[MARKED] = SOUND
COUNT = 24


class Pair:
    """A model of transformers and the same one here."""

    def __init__(self, kind, folder):
        self.kind, self.theirs = kind, torch_model(kind)
        self.folder = save(self.theirs, folder / kind, kind)
        self.ours = load(self.folder)
        self.soft = np.random.default_rng(1).normal(0, 1, (MARKED.sum(), WIDTH)).astype(np.float32)

    def embeds(self, scaled=True):
        """Return a prompt's embeddings with soft rows in them."""
        embed = self.ours.embed if scaled else self.ours.embed_unscaled
        made = f32(embed(mx.array(np.where(MARKED, PAD, IDS))))
        made[MARKED] = self.soft
        return mx.array(made)

    def rows(self, at=PAD):
        """Return its per-layer rows, those of the token `at` where sound stands."""
        if self.kind not in SMALL:
            return ()
        return (self.ours.per_layer(mx.array(np.where(MARKED, at, IDS))),)

    def expected(self):
        """Return transformers' logits [T, V] of the same prompt, pad's rows where sound stands."""
        with torch.no_grad():
            return self.theirs(**self.given(*self.tensors())).logits[0].numpy()

    def tensors(self):
        ids = torch.tensor(np.where(MARKED, PAD, IDS))[None]
        with torch.no_grad():
            embeds = self.theirs.model.embed_tokens(ids)
            embeds[0, MARKED] = torch.tensor(self.soft)
            return embeds, self.layer_rows(ids)

    def layer_rows(self, ids):
        small = self.kind in SMALL
        return self.theirs.model.get_per_layer_inputs(ids) if small else None

    def given(self, embeds, rows):
        return {"inputs_embeds": embeds} | ({} if rows is None else {"per_layer_inputs": rows})

    def greedy(self, count=COUNT):
        """Continue in transformers, each new token with its own rows, without a cache."""
        found, (embeds, rows) = [], self.tensors()
        with torch.no_grad():
            for _ in range(count):
                last = self.theirs(**self.given(embeds, rows)).logits[:, -1:].argmax(-1)
                found.append(last.item())
                embeds = torch.cat([embeds, self.theirs.model.embed_tokens(last)], 1)
                if rows is not None:
                    rows = torch.cat([rows, self.layer_rows(last)], 1)
        return found


def f32(value):
    return np.array(value.astype(mx.float32))


def agree(logits, theirs):
    np.testing.assert_allclose(f32(logits), theirs, atol=2e-4)


def greedy(lm, embeds, *rows, count=COUNT, **options):
    stream = lm.generate(embeds, *rows, max_tokens=count, stop=(), **options)
    return outputs(stream)[1]["ids"].tolist()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma4")
    made = {}

    def pair(kind):
        if kind not in made:
            made[kind] = Pair(kind, folder)
        return made[kind]

    return pair


@pytest.fixture(scope="module", params=KINDS)
def pair(request, pairs):
    return pairs(request.param)


@pytest.fixture(scope="module", params=SMALL)
def small(request, pairs):
    return pairs(request.param)


# Each stage


def test_embeddings_come_in_both_conventions(pair):
    ids = torch.tensor(IDS)
    with torch.no_grad():
        scaled = pair.theirs.model.embed_tokens(ids).numpy()
    table = pair.theirs.model.embed_tokens.weight.detach().numpy()
    np.testing.assert_allclose(f32(pair.ours.embed(mx.array(IDS))), scaled, rtol=1e-6)
    np.testing.assert_array_equal(f32(pair.ours.embed_unscaled(mx.array(IDS))), table[IDS])
    raw = pair.ours.embed_unscaled(mx.array(IDS))
    np.testing.assert_array_equal(f32(pair.ours.scaled(raw)), f32(pair.ours.embed(mx.array(IDS))))


def test_per_layer_inputs_are_those_of_transformers(small):
    theirs, ours = small.theirs.model, small.ours
    ids, (embeds, rows) = torch.tensor(IDS)[None], small.tensors()
    with torch.no_grad():
        token = theirs.get_per_layer_inputs(ids)[0].numpy()
        context = theirs.project_per_layer_inputs(embeds, None)[0].numpy()
        both = theirs.project_per_layer_inputs(embeds, rows)[0].numpy()
    np.testing.assert_allclose(f32(ours.per_layer(mx.array(IDS))), token, rtol=1e-6)
    project = ours.model.model._project_per_layer_inputs
    np.testing.assert_allclose(f32(project(small.embeds()[None], None))[0], context, atol=2e-5)
    summed = project(small.embeds()[None], small.rows()[0][None])
    np.testing.assert_allclose(f32(summed)[0], both, atol=2e-5)
    assert np.abs(both - (context + rows[0].numpy())).max() > 0.1  # the 1/sqrt(2) counts


def test_every_layer_gives_what_it_gives_in_transformers(pair, monkeypatch):
    """Each from what it is given there, so that none has another's rounding to answer for."""
    given, theirs, ours = [], [], []

    def record(_, inputs, found):
        given.append(inputs[0].numpy())
        theirs.append((found if isinstance(found, torch.Tensor) else found[0]).numpy())

    hooks = [layer.register_forward_hook(record) for layer in pair.theirs.model.layers]
    pair.expected()
    for hook in hooks:
        hook.remove()

    class Tap:
        def __init__(self, layer):
            self.layer, self.layer_type = layer, layer.layer_type

        def __call__(self, x, *others, **more):
            found = self.layer(mx.array(given[len(ours)].reshape(x.shape)), *others, **more)
            ours.append(f32(found[0]))
            return found

    inner = pair.ours.model.model
    monkeypatch.setitem(inner, "layers", [Tap(layer) for layer in inner.layers])
    pair.ours.logits(pair.embeds(), *pair.rows())
    assert len(ours) == len(theirs) == 6
    for own, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, their.reshape(own.shape), atol=1e-4)


def test_logits_of_ids_and_of_soft_rows(pair):
    plain = mx.array(np.where(MARKED, 7, IDS))
    with torch.no_grad():
        theirs = pair.theirs(torch.tensor(np.array(plain))[None]).logits[0].numpy()
    rows = (pair.ours.per_layer(plain),) if pair.kind in SMALL else ()
    agree(pair.ours.logits(pair.ours.embed(plain), *rows), theirs)
    agree(pair.ours.logits(pair.embeds(), *pair.rows()), pair.expected())


def test_greedy_ids_for_every_chunk_of_a_prompt_beyond_the_window(pair):
    theirs, last = pair.greedy(), pair.expected()[-1]
    assert len(set(theirs)) > 4
    decoder, rows = pair.ours.decoder, pair.rows()
    given = {"input_embeddings": pair.embeds()}
    given |= {"per_layer_inputs": rows[0]} if rows else {}
    for chunk in (1, 7, 64, 2048):
        decoder.chunk = chunk
        np.testing.assert_allclose(
            decoder.logits(decoder.prefill(DecoderInput(given))), last, atol=2e-4
        )
        assert greedy(pair.ours, pair.embeds(), *rows) == theirs


@pytest.mark.parametrize("chunk", [WINDOW - 1, WINDOW, WINDOW + 1])
def test_chunks_and_prompts_that_end_where_the_window_does(pair, chunk, monkeypatch):
    monkeypatch.setattr(pair.ours.decoder, "chunk", chunk)
    given = (pair.embeds(), *pair.rows())
    rows = dict(zip(("input_embeddings", "per_layer_inputs"), given, strict=False))
    want, decoder = pair.expected(), pair.ours.decoder
    for size in (chunk, chunk + 1, chunk + 2, 2 * chunk + 1, len(IDS)):
        part = DecoderInput({name: each[:size] for name, each in rows.items()})
        np.testing.assert_allclose(decoder.logits(decoder.prefill(part)), want[size - 1], atol=2e-4)


# What must not pass


def test_unscaled_embeddings_fail(pair):
    with pytest.raises(AssertionError):
        agree(pair.ours.logits(pair.embeds(scaled=False), *pair.rows()), pair.expected())


def test_other_rows_where_sound_stands_fail(small):
    right, theirs = small.embeds(), small.expected()
    agree(small.ours.logits(right, *small.rows()), theirs)
    zeros = small.ours.per_layer(mx.array(IDS), zero=MARKED)
    assert not f32(zeros)[MARKED].any()
    np.testing.assert_array_equal(f32(zeros)[~MARKED], f32(small.rows()[0])[~MARKED])
    for wrong in (small.rows(at=SOUND)[0], zeros):
        with pytest.raises(AssertionError):
            agree(small.ours.logits(right, wrong), theirs)


def test_a_row_that_is_not_the_new_tokens_own_fails(small, monkeypatch):
    theirs = small.greedy()
    own = small.ours.rows
    pad = mx.array([PAD])
    other = lambda ids: own(ids) | {"per_layer_inputs": small.ours.per_layer(pad)}  # noqa: E731
    monkeypatch.setattr(small.ours.decoder, "rows", other)
    assert greedy(small.ours, small.embeds(), *small.rows()) != theirs


# Nothing is guessed


def test_neighbours_are_never_looked_for(small, monkeypatch):
    from mlx_lm.models import gemma4_text

    def never(*given):
        raise AssertionError("looked for a neighbour")

    expected = small.greedy(4)
    for place, name in (
        (mx, "argmin"), (gemma4_text, "_complete_square"),
        (gemma4_text.Gemma4TextModel, "_get_per_layer_inputs"),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, never)
    assert greedy(small.ours, small.embeds(), *small.rows(), count=4) == expected
    with pytest.raises(ComposerError, match="R556 per-layer inputs are missing, and cannot"):
        small.ours.model(None, input_embeddings=small.embeds()[None])
    with pytest.raises(ComposerError, match="R556 per-layer inputs are missing, and cannot"):
        small.ours.model(mx.array(IDS)[None])
    parameters = dict(tree_flatten(small.ours.model.parameters()))
    assert not [name for name in parameters if "embed_tokens_per_layer" in name]


def test_a_prompt_has_what_its_decoder_takes(pairs):
    with pytest.raises(ComposerError, match="R556 this decoder takes per-layer inputs"):
        pairs("e2b").ours.generate(pairs("e2b").embeds())
    with pytest.raises(ComposerError, match="R556 this decoder takes no per-layer inputs"):
        pairs("31b").ours.logits(pairs("31b").embeds(), *pairs("e2b").rows())


def test_ids_outside_the_vocabulary_are_refused(small):
    for lookup in (small.ours.embed, small.ours.embed_unscaled, small.ours.per_layer):
        with pytest.raises(ComposerError, match=f"R513 ids {ROWS}, -1 are outside the vocabulary"):
            lookup(mx.array([1, ROWS, -1, ROWS, ROWS]))


# Running


def test_several_in_flight_equal_their_solo_runs(pair):
    given = {"input_embeddings": pair.embeds()}
    given |= {"per_layer_inputs": pair.rows()[0]} if pair.kind in SMALL else {}
    prompts = [{name: rows[:size] for name, rows in given.items()} for size in (30, 1, 11)]
    counts, engine = (12, 3, 9), Engine(pair.ours.decoder, pair.ours.writer.tokenizer)
    alone = [
        greedy(pair.ours, *each.values(), count=count)
        for each, count in zip(prompts, counts, strict=True)
    ]
    answers = []
    for each, count in zip(prompts, counts, strict=True):
        stop = StopRules(pair.ours.writer.stop, count)
        answers.append(engine.add(Request(DecoderInput(each), Sampling(), stop)))
        engine.advance()
    while engine.busy:
        engine.advance()
    assert [answer.ids for answer in answers] == alone


def test_it_streams_and_stops(small):
    ids = greedy(small.ours, small.embeds(), *small.rows(), count=8)
    last = next(n for n in range(1, 8) if ids[n] not in ids[:n])
    stream = small.ours.generate(small.embeds(), *small.rows(), max_tokens=8, stop=(ids[last],))
    tokens, result = outputs(stream)
    assert [token.id for token in tokens] == result["ids"].tolist() == ids[:last]
    assert result["finish_reason"] == "stop"
    with pytest.raises(ComposerError, match="R560 there is no adapter 'speach'"):
        small.ours.generate(small.embeds(), *small.rows(), adapters=("speach",))


@pytest.mark.parametrize("prefix", ["model.", "language_model.model.", "model.language_model."])
def test_every_layout_is_the_same_model(pairs, tmp_path, prefix):
    pair = pairs("e4b")
    whole = prefix == "model.language_model."
    folder = save(pair.theirs, tmp_path / "lm", "e4b", prefix=prefix, whole=whole)
    ours = load(folder)
    same = ours.logits(pair.embeds(), *pair.rows())
    np.testing.assert_array_equal(f32(same), f32(pair.ours.logits(pair.embeds(), *pair.rows())))
    codes = [note.code for note in facts(folder).notes]
    assert codes == (["L325", "L326"] if whole else [])


# Precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision_is_what_it_runs_in(small, precision):
    known = facts(small.folder, precision)
    lm = load(small.folder, precision)
    assert known.dtype == {"bfloat16": "bf16", "float16": "f16"}[precision]
    parameters = [value for _, value in tree_flatten(lm.model.parameters())]
    assert {str(value.dtype) for value in parameters} == {f"mlx.core.{precision}"}
    assert known.nbytes == sum(value.nbytes for value in parameters)
    ids = mx.array(IDS)
    rows, embeds = lm.per_layer(ids), lm.embed(ids)
    assert str(rows.dtype) == str(embeds.dtype) == f"mlx.core.{precision}"
    half = deepcopy(small.theirs.model).to(getattr(torch, precision))
    with torch.no_grad():
        theirs = half.embed_tokens(torch.tensor(IDS)).float().numpy()
        layers = half.get_per_layer_inputs(torch.tensor(IDS)).float().numpy()
    np.testing.assert_array_equal(f32(embeds), theirs)  # the scale is rounded to the dtype too
    np.testing.assert_array_equal(f32(rows), layers)


def test_experts_on_a_cpu_run_in_float32(pairs):
    with pytest.raises(ComposerError) as caught:
        load(pairs("26b").folder, "bfloat16", device="cpu")
    assert str(caught.value) == (
        "R555 MLX multiplies experts on a CPU in float32 alone, and this decoder is bf16\n"
        "    hint: say precision: float32, quantize the experts, or run it on a gpu"
    )


def test_packed_experts_run_on_a_cpu_in_bfloat16(pairs, tmp_path):
    pair = pairs("26b")
    folder = save(pair.theirs, tmp_path / "lm", "26b", torch.bfloat16)
    ours = load(folder, QuantizationRecipe(bits=8, group_size=32), device="cpu")
    assert np.isfinite(f32(ours.logits(pair.embeds().astype(mx.bfloat16)))).all()
    some = QuantizationRecipe(bits=8, group_size=32, keep=["*.3.experts.*"])
    with pytest.raises(ComposerError, match="R555 MLX multiplies experts on a CPU in float32"):
        load(folder, some, device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_leaves_what_every_layer_reads(pairs, kind):
    recipe = QuantizationRecipe(bits=8, group_size=32)
    known, pair = facts(pairs(kind).folder, recipe), pairs(kind)
    lm = load(pair.folder, recipe)
    names = {name for name, _ in tree_flatten(lm.model.parameters()) if name.endswith(".scales")}
    leaves = {name.split(".")[-2] for name in names}
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert leaves == attention | {"gate_proj", "up_proj", "down_proj"}
    assert known.nbytes == sum(v.nbytes for _, v in tree_flatten(lm.model.parameters()))
    assert not [note for note in known.notes if note.code == "L324"]
    other = copy(pair)
    other.theirs = deepcopy(pair.theirs)
    with torch.no_grad():
        for name, value in other.theirs.named_parameters():
            if name.removesuffix(".weight").rpartition(".")[2] in leaves | {"gate_up_proj"}:
                packed = mx.quantize(mx.array(value.numpy()), 32, 8)
                value.copy_(torch.tensor(np.array(mx.dequantize(*packed, 32, 8))))
    assert np.abs(pair.expected() - other.expected()).max() > 0.01
    agree(lm.logits(pair.embeds(), *pair.rows()), other.expected())

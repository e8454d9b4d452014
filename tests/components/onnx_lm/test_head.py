"""A head of which coarse products are read first: greedy ids are those of the exact ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from composer.components.models import decoder, llama
from composer.components.onnx.lm.greedy import ExactGreedyHead
from composer.core.errors import ComposerError
from composer.generation.decoder import DecoderInput
from tests.components.mlx_lm.models import IDS, SCHEMES, greedy, quantized, save, torch_model
from tests.components.onnx_lm.loading import load, logits_of_torch
from tests.components.onnx_lm.loading import separate_store as distance
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")
HALVES = {"bf16": torch.bfloat16, "f16": torch.float16}


def rounded_model(dtype, change=None):
    model = torch_model()
    with torch.no_grad():
        if change is not None:
            change(model.get_input_embeddings().weight)
        for value in model.parameters():
            value.copy_(value.to(dtype))
    return model


@pytest.fixture(scope="module", params=HALVES)
def near_ties(request, home):
    """Have a table whose rows differ by the last bit of one number from one of eight others."""
    rng = np.random.default_rng(5)
    dtype = HALVES[request.param]

    def change(table):
        rows = table[:8].clone() * 4
        for row in range(len(table)):
            table[row] = rows[row % 8].to(dtype).float()
            column = int(rng.integers(0, table.shape[1]))
            bits = table[row, column].to(dtype).view(torch.int16) + int(rng.integers(0, 2))
            table[row, column] = bits.view(dtype).float()

    model = rounded_model(dtype, change)
    return load(save(model, home / f"ties-{request.param}", dtype)), model


@pytest.fixture(scope="module", params=["uniform 4", "uniform 8"])
def packed_ties(request, home):
    """Have a packed table whose rows differ by a step up and one down from one of eight.

    A plane does not distinguish two numbers of a row that are nearly equal.
    """
    rng, model, scheme = np.random.default_rng(6), torch_model(), SCHEMES[request.param]
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        rows = table[:8].clone() * 4
        step = (rows.max() - rows.min()) / (2 ** scheme[1] - 1)
        for row in range(len(table)):
            table[row] = rows[row % 8]
            up, down = rng.choice(table.shape[1], 2, replace=False).tolist()
            table[row, up] += step
            table[row, down] -= step
    folder = quantized(model, home / f"ties-{request.param}", *scheme)
    return load(folder)


@pytest.fixture(scope="module", params=["floats", "uniform 4", "uniform 8"])
def coarse(request, home, half):
    """Have a head in digits, and packed ones."""
    if request.param == "floats":
        return half[0]
    return load(quantized(torch_model(), home / request.param, *SCHEMES[request.param]))


@pytest.fixture(scope="module")
def half(home):
    model = rounded_model(torch.bfloat16)
    return load(save(model, home / "half", torch.bfloat16)), model


def scores_of(lm, rows=IDS):
    """Return what the graph gives for the last of some ids, as greedy decoding reads it."""
    return lm.decoder.prefill(DecoderInput({"embeds": lm.embed(rows)})).logits


def without_bounds(monkeypatch):
    monkeypatch.setattr(
        ExactGreedyHead, "bounds", lambda self, hidden, rest, rows: np.zeros(len(rows))
    )


def exact(lm, scores):
    table = lm.embed(np.arange(lm.decoder.vocabulary)).astype(np.float64)
    return table @ scores.hidden.astype(np.float64)


def test_greedy_ids_are_those_of_the_exact_head_among_near_ties(near_ties, monkeypatch):
    lm, _ = near_ties
    found, wanted, coarse = [], [], []
    for end in range(1, 40):
        ids = np.random.default_rng(end).integers(3, 190, end)
        state = lm.decoder.prefill(DecoderInput({"embeds": lm.embed(ids)}))
        found += lm.decoder.greedy([state])
        wanted.append(int(exact(lm, state.logits).argmax()))
        coarse.append(int(state.logits.products.argmax()))
    assert found == wanted
    assert coarse != wanted, "these are no near-ties"


def test_a_packed_head_has_the_ids_of_its_exact_products_too(packed_ties, monkeypatch):
    lm = packed_ties
    states, wanted = [], []
    for end in range(1, 40):
        ids = np.random.default_rng(end).integers(3, 190, end)
        states.append(lm.decoder.prefill(DecoderInput({"embeds": lm.embed(ids)})))
        wanted.append(int(exact(lm, states[-1].logits).argmax()))
    assert lm.decoder.greedy(states) == wanted
    assert [int(each.logits.products.argmax()) for each in states] != wanted, "no near-ties"
    without_bounds(monkeypatch)
    assert lm.decoder.greedy(states) != wanted


def test_equal_rows_give_the_first_of_them(home):
    def change(table):
        table[:] = table[100]

    lm = load(save(rounded_model(torch.bfloat16, change), home / "equal", torch.bfloat16))
    state = lm.decoder.prefill(DecoderInput({"embeds": lm.embed(IDS)}))
    assert lm.decoder.greedy([state]) == [0]
    assert greedy(lm, lm.embed(IDS), 3) == [0, 0, 0]


def test_rows_one_by_one_and_all_at_once_have_the_same_products(coarse):
    lm = coarse
    scores = scores_of(lm)
    few, every = np.array([3, 100, 191]), np.arange(192)
    wanted = exact(lm, scores)
    for rows in (few, every):
        found = lm.decoder.winner.products(rows, scores.hidden)
        np.testing.assert_allclose(found, wanted[rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["as it is", "one sign", "one number", "large", "small"])
def test_no_coarse_product_is_further_off_than_its_bound(coarse, kind):
    lm = coarse
    changes = {
        "as it is": lambda x: x,
        "one sign": np.abs,
        "one number": lambda x: np.where(np.arange(x.shape[1]) == 5, x, 0),
        "large": lambda x: x * 1e10,
        "small": lambda x: x * 1e-10,
    }
    table = lm.embed(np.arange(192))
    for end in range(1, 12):
        rows = {"embeds": changes[kind](table[end : 2 * end]).astype(np.float32)}
        scores = lm.decoder.prefill(DecoderInput(rows)).logits
        off = np.abs(scores.products - exact(lm, scores))
        winner = lm.decoder.winner
        bounds = winner.bounds(scores.hidden, scores.rest, np.arange(len(scores.products)))
        possible = scores.products + bounds >= (scores.products - bounds).max()
        assert {*np.flatnonzero(possible)} <= {*winner.near(scores)}
        assert (off <= bounds).all()
        assert (off > 0).any()
        spread = exact(lm, scores).std()
        assert bounds.max() < spread, "a bound that lets all rows through"


def test_without_its_bounds_it_would_be_wrong(near_ties, monkeypatch):
    lm, _ = near_ties
    without_bounds(monkeypatch)
    states = [
        lm.decoder.prefill(DecoderInput({"embeds": lm.embed(IDS[:end])}))
        for end in range(1, len(IDS))
    ]
    wanted = [int(exact(lm, state.logits).argmax()) for state in states]
    assert lm.decoder.greedy(states) != wanted


def test_all_logits_are_as_near_as_float32_and_follow_coarse_ones(half):
    lm, model = half
    theirs = logits_of_torch(model)
    assert distance(lm.logits(lm.embed(IDS)), theirs) < 2e-6
    state = lm.decoder.prefill(DecoderInput({"embeds": lm.embed(IDS[:9])}))
    assert distance(state.logits.products, theirs[8]) > 1e-4
    lm.decoder.step([state], [int(IDS[9])])
    for _ in range(2):
        assert distance(lm.decoder.logits(state), theirs[9]) < 2e-6
    assert state.cache.length == 10
    lm.decoder.step([state], [int(IDS[10])])
    assert state.logits.logits is not None
    assert distance(lm.decoder.logits(state), theirs[10]) < 2e-6
    assert lm.decoder.greedy([state]) == [int(theirs[10].argmax())]


@pytest.mark.parametrize("name", ["uniform 4", "uniform 8"])
def test_all_logits_of_a_packed_head_follow_coarse_ones(home, name):
    folder = quantized(torch_model(), home / f"all {name}", *SCHEMES[name])
    lm = load(folder)
    embeds = lm.embed(IDS)
    wanted = lm.logits(embeds)
    table = lm.embed(np.arange(lm.decoder.vocabulary)).astype(np.float64)
    hidden = lm.hidden(embeds).astype(np.float64)
    assert distance(wanted, (hidden @ table.T).astype(np.float32)) < 2e-6
    state = lm.decoder.prefill(DecoderInput({"embeds": lm.embed(IDS[:9])}))
    assert distance(state.logits.products, wanted[8]) > 1e-4
    assert distance(lm.decoder.logits(state), wanted[8]) < 2e-6
    lm.decoder.step([state], [int(IDS[9])])
    assert state.logits.logits is not None
    assert distance(lm.decoder.logits(state), wanted[9]) < 2e-6


def test_sampling_and_log_probabilities_read_all_logits(half):
    lm, model = half
    embeds = lm.embed(IDS)
    ids = greedy(lm, embeds, 8)
    drawn = outputs(lm.generate(embeds, max_tokens=8, temperature=2.0, top_k=1))[1]
    assert drawn["ids"].tolist() == ids
    _, result = outputs(lm.generate(embeds, max_tokens=8, logprobs=True))
    theirs = torch.log_softmax(torch.tensor(logits_of_torch(model, [*IDS, *ids])), -1)
    wanted = [float(theirs[len(IDS) - 1 + place, token]) for place, token in enumerate(ids)]
    np.testing.assert_allclose(result["logprobs"], wanted, atol=1e-5)


def test_an_increasing_function_of_the_logits_changes_no_id(half, home, monkeypatch):
    lm, _ = half

    def forward(nn, settings, x):
        return nn.tanh(llama.forward(nn, settings, x) / 30.0) * 30.0

    monkeypatch.setitem(
        decoder.architectures(), "qwen3", replace(llama.ARCHITECTURE, forward=forward)
    )
    capped = load(home / "half")
    embeds = lm.embed(IDS)
    assert greedy(capped, embeds) == greedy(lm, embeds)
    wanted = np.tanh(lm.logits(embeds) / 30) * 30
    assert distance(capped.logits(embeds), wanted) < 2e-6


def test_numbers_that_are_none_are_an_error(half):
    lm, _ = half
    for odd in (np.nan, np.inf):
        embeds = lm.embed(IDS)
        embeds[-1, 0] = odd
        with pytest.raises(ComposerError, match="R512"):
            next(lm.generate(embeds))


def test_a_head_of_such_numbers_is_refused(home):
    model = rounded_model(torch.bfloat16)
    with torch.no_grad():
        model.get_input_embeddings().weight[7, 3] = torch.inf
    with pytest.raises(ComposerError, match=r"R512 model.embed_tokens.weight has numbers that"):
        load(save(model, home / "inf", torch.bfloat16))


def test_a_head_of_float32_or_with_rounded_rows_is_multiplied_as_it_is(qwen3, home):
    assert qwen3[1].decoder.winner is None
    folder = quantized(torch_model(), home / "rounded", *SCHEMES["uniform 8"])
    assert load(folder, activations="int8").decoder.winner is None
    assert load(folder).decoder.winner


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("part", ["scales", "biases"])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_packed_head_of_such_numbers_is_named_and_warns_of_nothing(tmp_path, part, odd):
    folder = quantized(torch_model(), tmp_path / "odd", *SCHEMES["uniform 8"])
    file, name = folder / "model.safetensors", f"model.embed_tokens.{part}"
    tensors = load_file(file)
    tensors[name][100, 0] = odd
    save_file(tensors, file, metadata={"format": "mlx"})
    lm = load(folder)
    with pytest.raises(ComposerError, match=rf"(?s)R512 .*{name} holds numbers that are NaN or"):
        greedy(lm, lm.embed(IDS), 8)

"""Gemma-4's text decoder, one file, on three backends against transformers, beyond its window."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.components.checkpoints.gemma4.checkpoint import read_decoder
from composer.components.checkpoints.row_reader import EmbeddingRows
from composer.components.mlx.decoder_blocks import MlxBlocksDecoder
from composer.components.models import gemma4
from composer.components.models.rotary import ProportionalRotary, Rotary
from composer.components.numpy.decoder import NumpyDecoder
from composer.components.onnx.lm.decoder import OnnxDecoder
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.gemma4_models import ROWS, SMALL, WIDTH, save, spec, torch_model
from tests.models.decoders import BACKENDS, COUNT, away

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-4
IDS = np.random.default_rng(5).integers(3, ROWS, 30)
KINDS = (*SMALL, "31b")
# A fast turn, of which a third of each head of full layers does not take part.
ROPE = {
    "full_attention": {"rope_type": "proportional", "rope_theta": 50.0,
                       "partial_rotary_factor": 0.67, "factor": 1.5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
}  # fmt: skip
MORE = {"rope_parameters": ROPE, "final_logit_softcapping": 4.0}


class Model:
    """A checkpoint on a backend, with NumPy's arrays on both sides."""

    def __init__(self, folder, backend, change=lambda found: found):
        found = gemma4.read_gemma4(read_decoder(spec(folder).weights, Headers()))
        self.found = found = change(found)
        self.mlx = backend == "mlx"
        self.table = EmbeddingRows(found.table)
        self.layers = EmbeddingRows(found.rows) if found.rows else None
        self.decoder = {
            "mlx": lambda: MlxBlocksDecoder(found, Placement(device="cpu")),
            "onnx": lambda: OnnxDecoder(found, self.rows, Placement(threads=1)),
            "numpy": lambda: NumpyDecoder(found),
        }[backend]()

    def rows(self, ids):
        """Return the network's inputs for ids."""
        found = {"embeds": self.table.look_up(np.asarray(ids)) * np.float32(WIDTH**0.5)}
        if self.layers:
            rows = self.layers.look_up(np.asarray(ids)) * 4  # the square root of 16
            found["per_layer"] = rows.reshape(len(ids), 6, 16)
        if self.found.settings.bidirectional:
            found["ahead"] = np.zeros(len(ids), np.float32)
        return found

    def read(self, rows, cache, every=False):
        given = {name: mx.array(each) if self.mlx else each for name, each in rows.items()}
        return np.array(self.decoder.read(given, cache, every))

    def logits(self, rows, chunk=None):
        """Return the logits after every row, read in chunks."""
        cache = self.decoder.begin()
        return np.concatenate([self.read(part, cache, True) for part in cut(rows, chunk)])

    def greedy(self, rows, chunk=None):
        cache, found = self.decoder.begin(), []
        for part in cut(rows, chunk):
            last = self.read(part, cache)
        for _ in range(COUNT):
            found.append(int(last[0].argmax()))
            last = self.read(self.rows(found[-1:]), cache)
        return found


def cut(rows, chunk):
    count = len(rows["embeds"])
    for at in range(0, count, chunk or count):
        yield {name: each[at : at + (chunk or count)] for name, each in rows.items()}


def with_sound(rows):
    """Put rows of another origin into a prompt."""
    embeds = rows["embeds"].copy()
    embeds[4:12] = np.random.default_rng(1).normal(0, 1, (8, WIDTH))
    return rows | {"embeds": embeds}


def theirs(model, rows):
    """Return transformers' logits after every row."""
    names = {"embeds": "inputs_embeds", "per_layer": "per_layer_inputs"}
    given = {names[name]: torch.tensor(each)[None] for name, each in rows.items() if name in names}
    with torch.no_grad():
        return model(**given, use_cache=False).logits[0].numpy()


def their_greedy(model, rows, more):
    found = []
    for _ in range(COUNT):
        found.append(int(theirs(model, rows)[-1].argmax()))
        new = more(found[-1:])
        rows = {name: np.concatenate([each, new[name]]) for name, each in rows.items()}
    return found


@pytest.fixture(scope="module", params=KINDS)
def case(request, tmp_path_factory):
    kind = request.param
    model = torch_model(kind, **MORE)
    folder = save(model, tmp_path_factory.mktemp("gemma") / kind, kind)
    numbers = Model(folder, "numpy")
    rows = with_sound(numbers.rows(IDS))
    return kind, model, folder, rows, theirs(model, rows), numbers.rows


@pytest.fixture(scope="module")
def continued(case):
    _, model, _, rows, _, more = case
    return their_greedy(model, rows, more)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_what_transformers_computes_in_any_chunks(case, continued, backend):
    _, _, folder, rows, logits, _ = case
    model = Model(folder, backend)
    assert len(set(continued)) > 4
    for chunk in (1, 7, 8, 9, 64, None):  # the window is 8
        assert away(model.logits(rows, chunk), logits) < CLOSE, chunk
        assert model.greedy(rows, chunk) == continued, chunk


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_stage_is_that_of_transformers(case, backend):
    """The inputs of all layers, and what comes out of each: as wide as there are ids."""
    kind, model, folder, rows, _, _ = case
    found = []

    def keep(_, inputs, out):
        found.append((out if isinstance(out, torch.Tensor) else out[0])[0].numpy())

    hooks = [each.register_forward_hook(keep) for each in model.model.layers]
    theirs(model, rows)
    for hook in hooks:
        hook.remove()

    def up_to(count):
        def forward(nn, settings, x, per_layer=None, ahead=None):
            inputs = None
            if per_layer is not None:
                inputs = gemma4.per_layer_inputs(nn, settings, x, per_layer)
            for number in range(count):
                x = gemma4.layer(nn, settings, number, x, inputs)
            return nn.chosen(x if count else nn.reshape(inputs, -1, WIDTH))

        return Model(folder, backend, lambda found: replace(found, forward=forward))

    for count, expected in enumerate(found, 1):
        assert away(up_to(count).logits(rows), expected) < CLOSE, count
    if kind in SMALL:
        with torch.no_grad():
            given = (torch.tensor(rows[name])[None] for name in ("embeds", "per_layer"))
            inputs = model.model.project_per_layer_inputs(*given)[0].numpy()
        assert away(up_to(0).logits(rows), inputs.reshape(len(IDS), -1)) < CLOSE


# What must not pass


def attending(**changes):
    """Change how layers attend; a change is called with the layer's own."""

    def change(settings):
        layers = tuple(
            replace(attn, **{name: new(attn) for name, new in changes.items()})
            for attn in settings.layers
        )
        return replace(settings, layers=layers)

    return change


def rule(change):
    return lambda attn: (
        replace(attn.rotary, scaling=change(attn.rotary.scaling))
        if isinstance(attn.rotary.scaling, ProportionalRotary)
        else attn.rotary
    )


WRONG = {
    "logits without a cap": lambda settings: replace(settings, final_softcap=None),
    "another cap": lambda settings: replace(settings, final_softcap=5.0),
    "one base for all": attending(rotary=lambda attn: replace(attn.rotary, theta=20.0)),
    "whole heads turn": attending(rotary=rule(lambda found: replace(found, part=1.0))),
    "turns that are not slowed": attending(rotary=rule(lambda found: replace(found, factor=1.0))),
    "a part that turns as a smaller head would": attending(
        rotary=lambda attn: (
            Rotary(20, 50.0, 1.5) if attn.window is None else attn.rotary
        )
    ),
    "no window": attending(window=lambda attn: None),
    "a window of one more": attending(window=lambda attn: attn.window and attn.window + 1),
    "scaled by the width of a head": attending(scale=lambda attn: attn.head_dim**-0.5),
    "another epsilon": lambda settings: replace(settings, rms_norm_eps=0.01),
}  # fmt: skip
SMALL_ALONE = {
    "keys of an earlier layer": lambda settings: replace(settings, sources=(0, 1, 2, 0, 0, 2)),
    "words that are not scaled": lambda settings: replace(settings, hidden_size=1),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("why", [*WRONG, *SMALL_ALONE])
def test_what_is_nearly_right_does_not_pass(case, backend, why):
    kind, _, folder, rows, logits, _ = case
    if kind not in SMALL and why in SMALL_ALONE:
        pytest.skip("it has no such part")
    change = (WRONG | SMALL_ALONE)[why]
    if why == "words that are not scaled":  # which eps alone would see in the context
        rows = rows | {"embeds": rows["embeds"] / np.float32(WIDTH**0.5)}
    model = Model(folder, backend, lambda found: replace(found, settings=change(found.settings)))
    assert away(model.logits(rows), logits) > 10 * CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("why", ["of another id", "zeros", "unscaled", "of another layer"])
def test_wrong_rows_of_the_table_do_not_pass(case, backend, why):
    kind, _, folder, rows, logits, more = case
    if kind not in SMALL:
        pytest.skip("it has no table")
    own = rows["per_layer"]
    other = {
        "of another id": more(IDS[::-1])["per_layer"],
        "zeros": np.zeros_like(own),
        "unscaled": own / 4,
        "of another layer": own[:, ::-1],
    }[why]
    found = Model(folder, backend).logits(rows | {"per_layer": np.ascontiguousarray(other)})
    assert away(found, logits) > 10 * CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("why", ["no norm of values", "the scalar of layers left out",
                                 "gelu by its true formula"])  # fmt: skip
def test_formulas_that_are_nearly_right_do_not_pass(case, backend, why, monkeypatch):
    _, _, folder, rows, logits, _ = case

    def changed(nn, settings, x, per_layer=None, ahead=None):
        norm, weight = nn.rms_norm, nn.weight
        if why == "no norm of values":
            nn.rms_norm = lambda y, name, *more: norm(y, name, *more) if name else y
        elif why == "gelu by its true formula":
            nn.gelu_tanh = nn.gelu
        else:
            one = nn.constant(np.ones(1, np.float32))
            nn.weight = lambda name: one if "layer_scalar" in name else weight(name)
        return gemma4.forward(nn, settings, x, per_layer, ahead)

    model = Model(folder, backend, lambda found: replace(found, forward=changed))
    assert away(model.logits(rows), logits) > CLOSE


def test_experts_are_refused_by_name(tmp_path):
    folder = save(torch_model("26b"), tmp_path / "26b", "26b")
    with pytest.raises(ComposerError) as caught:
        gemma4.read_gemma4(read_decoder(spec(folder).weights, Headers()))
    assert str(caught.value) == (
        "repo/26b/config.json: W254 composer has no network of its own for Gemma-4 with experts\n"
        "    num_experts 8 comes from it\n"
        "    hint: use mlx.gemma4, which takes it"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_heads_of_the_published_sizes(tmp_path, backend):
    """256 and 512 numbers, of which a quarter turns; queries are small, as trained ones are."""
    rope = {"full_attention": {"rope_type": "proportional", "rope_theta": 1e6,
                               "partial_rotary_factor": 0.25},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}  # fmt: skip
    model = torch_model("e2b", head_dim=256, global_head_dim=512, rope_parameters=rope)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_norm.weight *= 0.1
    folder = save(model, tmp_path / "lm", "e2b", head_dim=256, global_head_dim=512)
    ours = Model(folder, backend)
    rows = ours.rows(IDS)
    for chunk in (7, None):
        assert away(ours.logits(rows, chunk), theirs(model, rows)) < CLOSE
    whole = attending(rotary=lambda attn: replace(attn.rotary, scaling=1.0))
    other = Model(folder, backend, lambda found: replace(found, settings=whole(found.settings)))
    assert away(other.logits(rows), theirs(model, rows)) > 10 * CLOSE

"""Phi-4's speech conformer against transformers' own, layer by layer, and what it refuses."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from composer.components.models import phi4_audio
from composer.components.models.phi4_audio import WINDOW
from composer.core.errors import ComposerError
from tests.models.backends import BACKENDS, apply, arrays, family, plain
from tests.models.towers import Tower, copy_checkpoint
from tests.reference import phi4_audio as reference
from tests.reference.qwen3_asr import make_clip

CLOSE = 1e-4
TOWER = "audio_tower."
tower = Tower("phi4_audio")
facts, load, error_text = tower.facts, tower.load, tower.error_text


@pytest.fixture(scope="module")
def theirs(one_thread):
    return reference.Phi4Audio()


@pytest.fixture(scope="module")
def repo(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("phi4") / "repo"
    folder.mkdir()
    state = {TOWER + name: value for name, value in theirs.state().items()}
    state["audio_projector.0.weight"] = torch.zeros(8, reference.WIDTH)
    state["language_model.model.embed_tokens.weight"] = torch.zeros(4, 8)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"audio_config": reference.CONFIG}))
    return folder


@pytest.fixture(scope="module", params=BACKENDS)
def component(repo, request):
    return load(repo, backend=request.param)


@pytest.fixture(scope="module")
def long_mel():
    """Frames of 501 rows more than a window's, which no clip has to be made for."""
    return np.random.default_rng(4).normal(12, 3, (8 * WINDOW + 30, 80)).astype(np.float32)


@pytest.fixture
def copied(repo, tmp_path):
    """Return a copy, its tensors and config as the given functions change them."""

    def make(tensors=None, config=None):
        return copy_checkpoint(repo, tmp_path / "repo", tensors, config)

    return make


def close(found, want, tolerance=CLOSE):
    return found.shape == want.shape and bool(np.abs(found - want).max() <= tolerance)


class Part:
    """One network of a component, as a component that has no other."""

    def __init__(self, component, run):
        self.run = run
        self.runs_on = component.runs_on


def bias_of(component, count):
    return np.asarray(component.runs_on.to_numpy(component._distances(count)))


@pytest.mark.parametrize("seconds", [0.03, 0.7, 4.9])
def test_every_stage_and_layer_is_that_of_transformers(component, theirs, seconds):
    mel = theirs.features(make_clip(seconds))
    want = theirs.stages(mel)
    assert len(want["rows"]) == -(-len(mel) // 8)
    x = plain(component.stem(arrays(component, mel)))
    assert close(x, want["stem"], 1e-5)
    distances = bias_of(component, len(x))
    for number in range(reference.LAYERS):

        def layer(v, x, distances, at=f"encoders.{number}."):
            bias = v.transpose(v.gather(v.weight(phi4_audio.BIAS_VALUES), distances), 2, 0, 1)
            return phi4_audio.layer(v, at, reference.HEADS, x, bias)

        x = apply(Part(component, component.encode), layer, x, distances)
        assert close(x, want[f"layer {number}"]), number
    rows = plain(component(arrays(component, mel)))
    assert close(rows, want["rows"])
    assert np.abs(rows).max() > 0.3


def test_a_clip_beyond_a_window_is_encoded_window_by_window(component, theirs, long_mel):
    """The last window is filled up with rows of 0 that the others attend to."""
    want = theirs.stages(long_mel)["rows"]
    rows = plain(component(arrays(component, long_mel)))
    assert rows.shape == (WINDOW + 4, reference.WIDTH)
    assert close(rows, want)


def test_windows_left_out_or_not_filled_up_do_not_pass(repo, theirs, long_mel, monkeypatch):
    component, want = load(repo, backend="onnx"), theirs.stages(long_mel)["rows"]
    exact = long_mel[: 8 * WINDOW]
    assert close(component(exact), theirs.stages(exact)["rows"])
    monkeypatch.setattr(component, "_filled", lambda x: x)
    short = component._distances(4)
    whole = component._distances(WINDOW)
    x = component.stem(long_mel)
    unfilled = [component.encode(x[:WINDOW], whole), component.encode(x[WINDOW:], short)]
    assert not close(np.concatenate(unfilled), want, 1e-3)
    monkeypatch.setattr(phi4_audio, "WINDOW", 2 * WINDOW)
    assert not close(component(long_mel), want, 1e-3)


def test_what_is_nearly_right_does_not_pass(repo, theirs, monkeypatch):
    component = load(repo, backend="numpy")
    mel = theirs.features(make_clip(4.9))
    want = theirs.stages(mel)["rows"]
    assert close(component(mel), want)
    count = -(-len(mel) // 8)
    numbers = bias_of(component, count)

    def rows(mel=mel, distances=numbers):
        return component.encode(component.stem(mel), distances)

    def swapped_gate(nn, at, x):
        y = nn.linear(nn.layer_norm(x, f"{at}layer_norm", 1e-5), f"{at}net.0.linear")
        gate, other = nn.halves(y)
        return x + nn.linear(nn.silu(gate) * other, f"{at}net.2") * 0.5

    weights = component.stem.weights
    centred = (mel - weights["encoder_embedding.global_mean"]) * weights[
        "encoder_embedding.global_invstd"
    ]
    wrong = {
        "mean and deviation twice": rows(centred.astype(np.float32)),
        "mean and deviation of the clip": rows((mel - mel.mean(0)) / mel.std(0)),
        "distances from key to query": rows(distances=numbers.T),
        "distances that reach one less": rows(
            distances=np.clip(numbers, 1, 2 * reference.REACH - 2)
        ),
        "mels upside down": rows(mel[:, ::-1].copy()),
        "a frame less": rows(mel[1:]),
        "scaled as words are": rows() * reference.WIDTH**0.5,
    }
    with monkeypatch.context() as patch:
        patch.setattr(phi4_audio, "feed_forward", swapped_gate)
        wrong["the other half is the gate"] = rows()
    with monkeypatch.context() as patch:
        patch.setattr(phi4_audio, "EPS", 1e-2)
        wrong["another epsilon"] = rows()
    for why, found in wrong.items():
        assert not close(found, want, 1e-3), why


def test_the_convolution_takes_a_row_and_those_before_it(component):
    draw = np.random.default_rng(3).normal(0, 1, (30, reference.WIDTH)).astype(np.float32)
    part = Part(component, component.encode)

    def changed(function):
        other = draw.copy()
        other[17, 3] += 1
        away = np.abs(apply(part, function, other) - apply(part, function, draw)).max(axis=1)
        return np.flatnonzero(away > 1e-5).tolist()

    at = "encoders.0.conv."
    assert changed(lambda v, x: phi4_audio.convolution(v, at, x)) == [17, 18, 19]


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_of_activation_checkpointing_and_the_layout_of_mlx_are_read(
    copied, repo, theirs, backend
):
    def ported(state):
        for name in list(state):
            value = state.pop(name)
            if name.startswith(TOWER):
                name = re.sub(r"(encoders\.\d+\.)", r"\1_checkpoint_wrapped_module.", name)
                if value.ndim > 2 and not name.endswith((".b1", ".b2")):
                    value = value.movedim(1, -1)
            state[name] = value

    component, other = load(repo, backend=backend), load(copied(ported), backend=backend)
    mel = arrays(component, theirs.features(make_clip(0.7)))
    assert np.array_equal(plain(other(mel)), plain(component(mel)))


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.2), ("float16", 0.02)])
def test_other_precisions_are_near(repo, theirs, precision, tolerance):
    made = load(repo, precision)
    mel = theirs.features(make_clip(0.7))
    rows = plain(made(arrays(made, mel)))
    want = theirs.stages(mel)["rows"]
    assert close(rows, want, tolerance)
    assert not close(rows, want, 1e-5)


def test_nothing_else_of_the_checkpoint_is_its(repo):
    known = facts(repo)
    assert known.notes == ()
    sizes = {symbol: bound.value for symbol, bound in known.dims.items()}
    assert sizes == {"M": 80, "D": reference.WIDTH}


def drop(*names):
    return lambda state: [state.pop(TOWER + name) for name in names]


def put(name, value):
    return lambda state: state.update({TOWER + name: value})


def with_config(**changes):
    return lambda config: config["audio_config"].update(changes)


TENSORS = {
    "missing": (
        drop("encoders.1.layer_norm.weight", "embed.out.bias"),
        "W270 2 tensors missing\n    embed.out.bias\n    encoders.1.layer_norm.weight",
    ),
    "unexpected": (
        put("encoders.0.conv.bn_layer.weight", torch.ones(32)),
        "W271 1 tensor that no part of a speech encoder has\n"
        "    encoders.0.conv.bn_layer.weight",
    ),
    "beside the tower": (
        lambda state: state.update({"audio_adapter.weight": torch.ones(48)}),
        "W271 1 tensor of no part of such a checkpoint\n    audio_adapter.weight\n"
        "    its parts: audio_tower., audio_projector., ",
    ),
    "a gate of another width": (
        lambda state: [put(f"encoders.{n}.feed_forward_{part}.net.2.weight",
                           torch.ones(32, 20))(state) for n in range(3) for part in ("in", "out")],
        "W272 the width of the gates of the feed-forward layers is not twice the width of the "
        "feed-forward layers",
    ),
    "biases for an odd number of distances": (
        put("relative_attention_bias_layer.bias_values.weight", torch.ones(39, 4)),
        "W272 the number of distances with a bias is odd: they go as far back as ahead",
    ),
    "heads that do not divide": (
        put("relative_attention_bias_layer.bias_values.weight", torch.ones(40, 5)),
        "W274 5 attention heads do not divide a width of 32",
    ),
    "another number of mels": (
        lambda state: [put(f"encoder_embedding.global_{name}", torch.ones(96))(state)
                       for name in ("mean", "invstd")],
        "W272 embed.out takes 60 numbers, not an eighth of the mels by channel",
    ),
    "twice": (
        put("encoders.0._checkpoint_wrapped_module.layer_norm.bias", torch.zeros(32)),
        "W271 tensors are there twice, with _checkpoint_wrapped_module. in their names too\n"
        "    encoders.0.layer_norm.bias",
    ),
    "none": (
        lambda state: [state.pop(name) for name in list(state) if TOWER in name],
        "W222 repo has no audio_tower.encoder_embedding.global_mean",
    ),
}  # fmt: skip
CONFIGS = {
    "layers": (
        with_config(num_blocks=4),
        "W273 a config contradicts the number of layers\n"
        "    4 comes from repo/config.json: audio_config.num_blocks\n"
        "    3 comes from repo: its layers",
    ),
    "distances": (
        with_config(relative_attention_bias_args={"type": "t5", "t5_bias_max_distance": 500}),
        "W273 a config contradicts the largest distance with a bias\n"
        "    500 comes from repo/config.json: "
        "audio_config.relative_attention_bias_args.t5_bias_max_distance\n"
        "    20 comes from repo: audio_tower.relative_attention_bias_layer.bias_values.weight "
        "[40, 4]",
    ),
    "chunks": (
        with_config(chunk_size=18),
        "W273 audio_config.chunk_size is not -1, which is all that is computed",
    ),
    "another gate": (
        with_config(conv_glu_type="sigmoid"),
        "W273 audio_config.conv_glu_type is not swish, which is all that is computed",
    ),
    "a key that nothing reads": (
        with_config(pos_gain=2.0),
        "W273 audio_config.pos_gain is no setting of this encoder",
    ),
}


@pytest.mark.parametrize("why", TENSORS)
def test_tensors_that_do_not_fit(copied, why):
    change, message = TENSORS[why]
    assert message in error_text(copied(change))


@pytest.mark.parametrize("why", CONFIGS)
def test_configs_that_contradict(copied, why):
    change, message = CONFIGS[why]
    assert message in error_text(copied(config=change))


def test_rows_that_are_not_finite_and_a_clip_without_frames_are_refused(repo, theirs):
    component = load(repo, backend="numpy")
    with pytest.raises(ComposerError, match="R551 the speech encoder gave numbers that are not"):
        component(theirs.features(make_clip(0.7)) * np.nan)
    with pytest.raises(ComposerError, match="R550 the log-mel has no frames"):
        component(np.zeros((0, 80), np.float32))


def test_without_files_nothing_is_known():
    assert family("phi4_audio", "mlx").facts(tower.spec(None), None).unknown

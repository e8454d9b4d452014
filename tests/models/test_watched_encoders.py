"""What goes into the Linears of encoders while they are watched, on every backend."""

from functools import partial

import numpy as np
import pytest
import torch

from composer.components.models.network import WatchedFunction
from composer.core.calibration import Calibrated, Watched
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.models import test_gemma4_audio as gemma4
from tests.models import test_qwen3_asr_audio as qwen3
from tests.models.backends import BACKENDS, arrays, family, plain
from tests.models.meralion import reference as meralion
from tests.reference.qwen3_asr import make_clip, make_model, make_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
SECONDS = 1.0


def load(name, folder, backend="mlx"):
    kind = family(name, backend)
    spec = Spec(name, kind.Config(), Location("repo", "", folder))
    return kind.load(spec, kind.facts(spec, Headers()), Placement())


def seen_by_torch(model, run, names):
    """Return what goes into each Linear of a model, by our name of it."""
    found, hooks = {}, []

    def see(name, inputs):
        found[name] = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).float().numpy()

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            hook = lambda _, inputs, own: see(own, inputs)  # noqa: E731
            hooks.append(module.register_forward_pre_hook(partial(hook, own=names(name))))
    run()
    for hook in hooks:
        hook.remove()
    return found


def of_meralion(folder):
    theirs = meralion.Reference()
    meralion.published(folder, theirs)
    mel = np.random.default_rng(5).normal(0, 0.7, (meralion.MELS, 2 * meralion.WINDOW))
    mel = mel.astype("f4")

    def own(name):
        return name.removeprefix("speech_encoder.").removeprefix("speech_audio_adapter.")

    return "meralion", mel, seen_by_torch(theirs, lambda: theirs.stages(mel), own)


def of_qwen3(folder):
    theirs = make_model(make_tokenizer())
    theirs.save_pretrained(folder)
    mel = qwen3.features(SECONDS)

    def own(name):
        name = name.rpartition("audio_tower.")[2]
        return name.replace("model.multi_modal_projector.linear_", "proj")

    return "qwen3_asr_audio", mel, seen_by_torch(theirs, lambda: qwen3.reference(theirs, mel), own)


def of_gemma4(folder):
    theirs = gemma4.reference.Gemma4Audio()
    theirs.write(folder)

    def own(name):
        return name.removeprefix("model.")

    seen = seen_by_torch(theirs.model, lambda: theirs.stages(make_clip(SECONDS)), own)
    return "gemma4_audio", gemma4.features(theirs, SECONDS), seen


@pytest.fixture(scope="module", params=[of_meralion, of_qwen3, of_gemma4])
def kind(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "repo"
    folder.mkdir()
    return folder, *request.param(folder)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_linear_sees_what_it_sees_in_transformers(kind, backend):
    folder, name, mel, wanted = kind
    component = load(name, folder, backend)
    assert isinstance(component, Watched)
    assert not isinstance(component, Calibrated)
    widths = component.input_widths()
    assert {path: widths[path] for path in wanted} == {p: r.shape[1] for p, r in wanted.items()}
    before = plain(component(arrays(component, mel)))
    found = {path: [] for path in wanted}
    with component.watch({path: rows.append for path, rows in found.items()}):
        watched = plain(component(arrays(component, mel)))
    np.testing.assert_allclose(watched, before, atol=1e-6 * abs(before).max())
    for path, rows in wanted.items():
        (own,) = found[path]
        assert (own.dtype, own.ndim) == (np.float32, 2)
        if path.endswith("relative_k_proj"):
            rows = rows[-len(own) :]  # transformers has a distance more, which nothing sees
        np.testing.assert_allclose(own, rows[: len(own)], atol=1e-3 * abs(rows).max())
    assert (plain(component(arrays(component, mel))) == before).all()
    assert all(len(rows) == 1 for rows in found.values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_window_is_seen_and_an_error_ends_the_watch(tmp_path, backend):
    meralion.published(tmp_path / "repo", meralion.Reference())
    component = load("meralion", tmp_path / "repo", backend)
    mel = np.random.default_rng(5).normal(0, 0.7, (meralion.MELS, 4 * meralion.WINDOW))
    seen = []

    def fail():
        with component.watch({"layers.1.fc1": seen.append}):
            component(arrays(component, mel.astype("f4")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [rows.shape for rows in seen] == [(meralion.WINDOW, meralion.WIDTH)] * 2
    component(arrays(component, mel.astype("f4")))
    assert len(seen) == 2


def test_folds_name_layers_that_there_are(kind):
    folder, name, *_ = kind
    component = load(name, folder)
    folds, widths = component.folds(), component.input_widths()
    assert bool(folds) == (name != "gemma4_audio")  # whose Linears clip what goes into them
    for fold in folds:
        assert set(fold.layers) <= widths.keys()


def test_a_backend_that_shows_nothing_is_refused():
    component = family("meralion", "numpy")(lambda mel: mel, 300)
    assert not isinstance(component.run, WatchedFunction)
    with pytest.raises(ComposerError, match="R597 its backend runs a network that cannot be"):
        component.input_widths()

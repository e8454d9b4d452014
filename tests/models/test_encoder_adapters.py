"""Mega-ASR's LoRA on the audio encoder and the decoder, against its formula in float64."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from composer.core import registry
from composer.core.component import Adapter, ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.models.backends import BACKENDS, arrays, family, plain
from tests.models.test_qwen3_asr_audio import features, model, released, repo  # noqa: F401
from tests.reference.mega_lora import BLOCKS, adapt, make_lora, save_lora
from tests.reference.qwen3_asr import make_tokenizer

KINDS = ("mlx.lm", "onnx.lm")


@pytest.fixture(scope="module")
def lora(released, tmp_path_factory):  # noqa: F811
    made = make_lora(load_file(released / "model.safetensors"))
    return made, save_lora(*made, tmp_path_factory.mktemp("lora") / "mega-asr-merged")


@pytest.fixture(scope="module")
def merged(released, lora, tmp_path_factory):  # noqa: F811
    """Return the checkpoint with the update of each module added, computed in float64."""
    folder = tmp_path_factory.mktemp("merged") / "repo"
    folder.mkdir()
    state = adapt(load_file(released / "model.safetensors"), *lora[0])
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json",):
        (folder / name).write_text((released / name).read_text())
    return folder


def spec(folder, lora=None, config=None):
    adapters = {}
    if lora:
        adapters["mega"] = Adapter(Location("lora", "", lora))
    files = Location("repo", "", folder)
    return Spec("part", config or ComponentConfig(), files, files=files, adapters=adapters)


def load(kind, folder, lora=None):
    given = spec(folder, lora, kind.Config())
    placement = Placement(device="cpu") if kind.name.startswith("mlx") else Placement()
    return kind.load(given, kind.facts(given, Headers()), placement)


def encoder(backend, *given):
    return load(family("qwen3_asr_audio", backend), *given)


def refusal(folder, lora, backend="onnx"):
    with pytest.raises(ComposerError) as caught:
        family("qwen3_asr_audio", backend).facts(spec(folder, lora), Headers())
    return str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_encoder_is_the_merged_one_while_it_is_on(released, merged, lora, backend):  # noqa: F811
    made, want = encoder(backend, released, lora[1]), encoder(backend, merged)
    mel = arrays(made, features(3.375))
    base = plain(encoder(backend, released)(mel))
    on = plain(made(mel, adapters=("mega",)))
    assert np.abs(on - plain(want(mel))).max() <= 1e-4
    assert np.abs(on - base).max() > 0.05
    assert np.array_equal(plain(made(mel)), base)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_drifts(released, lora, backend):  # noqa: F811
    made = encoder(backend, released, lora[1])
    width = made.encode.network.inputs["x"][1]
    x = arrays(made, np.random.default_rng(0).standard_normal((3, width), np.float32))

    def bits(*adapters):
        return plain(made.encode(x, adapters=adapters)).tobytes()

    off, on = bits(), bits("mega")
    assert off == plain(encoder(backend, released).encode(x)).tobytes()
    assert off != on
    for _ in range(100):
        assert bits("mega") == on
        assert bits() == off


@pytest.mark.parametrize("name", KINDS)
def test_the_decoder_takes_its_own_part_of_the_same_file(released, merged, lora, name):  # noqa: F811
    kind = registry.component(name)
    for folder in (released, merged):
        make_tokenizer().save_pretrained(folder)
    made, want = load(kind, released, lora[1]), load(kind, merged)
    ids = np.arange(3, 12)

    def logits(component, adapters=()):
        embeds = component.embed(arrays(component, ids))
        return plain(component.logits(embeds, **({"adapters": adapters} if adapters else {})))

    base = logits(load(kind, released))
    on = logits(made, ("mega",))
    assert np.abs(on - logits(want)).max() <= 1e-4
    assert np.abs(on - base).max() > 0.01
    assert np.array_equal(logits(made), base)


def test_what_is_nearly_right_does_not_pass(released, merged, lora, tmp_path):  # noqa: F811
    state, config, blocks = lora[0]
    mel = features(1.0)
    want = encoder("numpy", merged)(mel)

    def error(folder):
        return np.abs(encoder("numpy", released, folder)(mel, adapters=("mega",)) - want).max()

    one = {name: [{**each[0], "alpha": 1}, *each[1:]] for name, each in blocks.items()}
    flat = {**config, "alpha_pattern": {}}
    wrong = {
        "another alpha in one block": save_lora(state, config, one, tmp_path / "blocks"),
        "no blocks, as mlx-audio has it": save_lora(state, config, {}, tmp_path / "none"),
        "one alpha for all modules": save_lora(state, flat, blocks, tmp_path / "alpha"),
    }
    for why, folder in wrong.items():
        assert error(folder) > 1e-3, why
    assert error(lora[1]) <= 1e-4


def test_fan_in_fan_out_turns_each_update_over(released, tmp_path):  # noqa: F811
    """Square modules alone, so that only the numbers differ."""
    state = load_file(released / "model.safetensors")
    update, config, blocks = make_lora(state, square=True)
    mel = features(1.0)
    results = []
    for number, value in enumerate((False, True)):
        given = {**config, "fan_in_fan_out": value}
        lora = save_lora(update, given, blocks, tmp_path / f"lora{number}")
        folder = tmp_path / f"merged{number}"
        folder.mkdir()
        save_file(adapt(state, update, given, blocks), folder / "model.safetensors")
        (folder / "config.json").write_text((released / "config.json").read_text())
        found = encoder("numpy", released, lora)(mel, adapters=("mega",))
        assert np.abs(found - encoder("numpy", folder)(mel)).max() <= 1e-4
        results.append(found)
    assert np.abs(results[0] - results[1]).max() > 1e-3


BAD = {
    "is no list of 1 to": [7, {}, [], [{"start": 0, "end": 1}] * 99, "all", None],
    "has a block that is not": [
        [7], [{"start": 0}], [{"start": 0, "end": 4, "more": 1}], [{"start": 0, "end": 4.0}],
        [{"start": True, "end": 4}], [{"start": 0, "end": 4, "rank": 0}],
        [{"start": 0, "end": 4, "alpha": -1}], [{"start": -1, "end": 4}],
        [{"start": 0, "end": 2**70}], [{"start": 0, "end": 4, "alpha": "nan"}],
    ],
    "where one from": [
        [{"start": 1, "end": 6}], [{"start": 0, "end": 3}, {"start": 2, "end": 6}],
        [{"start": 0, "end": 0, "rank": 6}], [{"start": 0, "end": 99}],
    ],
    "has blocks up to 3, and the rank is 6": [[{"start": 0, "end": 3}]],
}  # fmt: skip


def test_hostile_blocks_are_refused(released, lora, tmp_path):  # noqa: F811
    state, config, blocks = lora[0]
    name = next(name for name in blocks if "audio_tower" in name)
    for message, values in BAD.items():
        for value in values:
            folder = save_lora(state, config, {**blocks, name: value}, tmp_path / "bad")
            assert message in refusal(released, folder), value
    strange = {**blocks, "thinker.audio_tower.layers.99.fc1": [{"start": 0, "end": 6}]}
    folder = save_lora(state, config, strange, tmp_path / "bad")
    assert "W292" in refusal(released, folder)
    file = folder / BLOCKS
    for text, code in (("[" * 99, "S412"), ("[]", "S41"), ('{"a": [], "a": []}', "S41")):
        file.write_text(text)
        assert code in refusal(released, folder)
    file.write_text(" " * 4_000_001)
    assert "S408" in refusal(released, folder)


def test_adapters_of_an_encoder_are_checked_as_those_of_a_decoder(released, lora, tmp_path):  # noqa: F811
    state, config, blocks = lora[0]
    stem = "base_model.model.thinker.audio_tower.layers.0.fc1.lora_"
    cases = {
        "W291 fc1 has lora_A.weight alone": {f"{stem}B.weight": None},
        "W288 the encoder has no fc9": {f"{stem}A.weight".replace("fc1", "fc9"): 0},
        "W293 fc1: a low-rank matrix is": {f"{stem}A.weight": np.zeros((6, 64), np.int32)},
    }
    for message, changed in cases.items():
        odd = dict(state)
        for key, value in changed.items():
            if value is None:
                del odd[key]
            elif isinstance(value, int):
                other = key.replace("lora_A", "lora_B")
                odd[key], odd[other] = np.zeros((6, 64), "f4"), np.zeros((64, 6), "f4")
            else:
                odd[key] = value
        assert message in refusal(released, save_lora(odd, config, blocks, tmp_path / "odd")), (
            message
        )
    alone = {name: value for name, value in state.items() if "audio_tower" not in name}
    folder = save_lora(alone, config, {}, tmp_path / "alone")
    assert "W292 it adapts nothing of this encoder" in refusal(released, folder)

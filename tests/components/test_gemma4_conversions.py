"""Gemma-4 as converters quantize it: FakeRockert543's, which spares the per-layer path, and others.

Each is loaded and compared with transformers, which has the numbers that the codes stand for.
"""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.components.gemma4_models import ROWS, SMALL, edit, facts, load, save, torch_model

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = np.random.default_rng(3).integers(3, ROWS, 12)
AT = "language_model.model."
SPARED = (
    "vision_tower", "audio_tower", "embed_vision", "embed_audio", "embed_tokens", "per_layer",
    "norm", "layer_scalar", "embedding_post_projection",
)  # fmt: skip
SIZE, BITS = 32, 4


def fake_rockert(path, module):
    """Say what convert_gemma4.py quantizes: a router in few bits too, as every answer is a yes."""
    return hasattr(module, "to_quantized") and not any(part in path for part in SPARED)


CONVERTERS = {"fake_rockert": fake_rockert, "mlx_lm": None}


def converted(folder, kind, converter):
    """Write what a converter makes of a random model; return that model."""
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    model = torch_model(kind, hidden_size=128)  # which a router's groups of 64 divide
    plain = edit(save(model, folder / "plain", kind, prefix=AT), vocab_size=ROWS)
    theirs, config = load_model(plain)
    predicate = CONVERTERS[converter]
    asked = {"quant_predicate": predicate} if predicate else {}
    theirs, config = quantize_model(theirs, config, SIZE, BITS, **asked)
    made = folder / "made"
    save_model(made, theirs)
    save_config(config, made / "config.json")
    (made / "tokenizer.json").write_bytes((plain / "tokenizer.json").read_bytes())
    if predicate:  # whose config has one entry for all, by which a loader decides
        edit(made, quantization={"group_size": SIZE, "bits": BITS})
    return model, made


def unpacked(stored, path, bits):
    """Return scale times code plus bias: codes lie in words of 32 bits, the lowest first."""
    words, scales = stored[f"{path}.weight"], stored[f"{path}.scales"]
    codes = words[..., None] >> np.arange(0, 32, bits, dtype=np.uint32) & (2**bits - 1)
    groups = codes.reshape(*scales.shape, -1).astype(np.float32)
    rows = groups * scales[..., None] + stored[f"{path}.biases"][..., None]
    return torch.from_numpy(rows.reshape(*words.shape[:-1], -1))


def with_codes_of(model, folder):
    """Return the model with the numbers of a folder's codes, and the modules that have codes."""
    found, stored = deepcopy(model), load_file(folder / "model.safetensors")
    paths = [name.removesuffix(".scales") for name in stored if name.endswith(".scales")]
    parameters = dict(found.named_parameters())
    table = json.loads((folder / "config.json").read_text())["quantization"]
    with torch.no_grad():
        for path in paths:
            rows = unpacked(stored, path, table.get(path, table)["bits"])
            name = path.replace(AT, "model.").replace("switch_glu.", "")
            if name.endswith(("gate_proj", "up_proj")) and "experts" in name:
                joined = parameters[f"{name.rpartition('.')[0]}.gate_up_proj"]
                half = joined.shape[1] // 2
                part = slice(half) if name.endswith("gate_proj") else slice(half, None)
                joined[:, part] = rows
            else:
                value = parameters.get(f"{name}.weight")
                (value if value is not None else parameters[name]).copy_(rows)
    found.tie_weights()
    return found, {path.removeprefix(AT) for path in paths}


@pytest.mark.parametrize("converter", CONVERTERS)
@pytest.mark.parametrize("kind", ["e2b", "26b"])
def test_a_conversion_loads_as_it_is_published(tmp_path, kind, converter):
    import mlx.core as mx

    model, folder = converted(tmp_path, kind, converter)
    expected, packed = with_codes_of(model, folder)
    known, lm = facts(folder), load(folder)
    with torch.no_grad():
        logits = expected(torch.tensor(IDS)[None]).logits[0].numpy()
        plain = model(torch.tensor(IDS)[None]).logits[0].numpy()
    ids = mx.array(IDS)
    rows = (lm.per_layer(ids),) if kind in SMALL else ()
    ours = np.array(lm.logits(lm.embed(ids), *rows).astype(mx.float32))
    np.testing.assert_allclose(ours, logits, atol=2e-4)
    assert np.abs(ours - plain).max() > 0.01
    spared = converter == "fake_rockert"
    assert ("embed_tokens" in packed) == (not spared)
    assert any("router.proj" in path for path in packed) == (kind == "26b")
    warned = [note.message for note in known.notes if note.code == "L324"]
    if kind in SMALL:
        assert len(warned) == (not spared)
        assert spared or warned[0].startswith(
            "the checkpoint is quantized in embed_tokens, embed_tokens_per_layer, "
        )
    elif spared:
        assert len(warned) == 1
        assert warned[0].endswith("and 2 more, which choose the experts")

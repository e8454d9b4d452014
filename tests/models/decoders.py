"""Run a decoder's checkpoint on each backend, with NumPy's arrays on both sides."""

import json

import mlx.core as mx
import numpy as np
import torch
from safetensors.torch import save_file

from composer.components.checkpoints.row_reader import EmbeddingRows
from composer.components.mlx.decoder_blocks import MlxBlocksDecoder
from composer.components.models.decoder import TABLE, read_decoder
from composer.components.numpy.decoder import NumpyDecoder
from composer.components.onnx.lm.component import OnnxLmConfig
from composer.components.onnx.lm.decoder import OnnxDecoder
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers

BACKENDS = ("mlx", "onnx", "numpy")
COUNT = 24


class Model:
    """A checkpoint on a backend."""

    def __init__(self, folder, backend, change=lambda found: found, **config):
        found = change(parsed(folder, **config))
        self.found = found
        self.mlx = backend == "mlx"
        self.table = EmbeddingRows(found.modules[TABLE])
        self.decoder = {
            "mlx": lambda: MlxBlocksDecoder(found, Placement(device="cpu")),
            "onnx": lambda: OnnxDecoder(found, self.rows, Placement(threads=1)),
            "numpy": lambda: NumpyDecoder(found),
        }[backend]()

    def rows(self, ids):
        return {"embeds": self.table.look_up(ids)}

    def logits(self, ids, chunk=None, cache=None):
        """Return the logits after every id, read in chunks."""
        embeds = self.table.look_up(np.asarray(ids))
        cache = cache or self.decoder.begin()
        chunk = chunk or len(embeds)
        parts = [embeds[at : at + chunk] for at in range(0, len(embeds), chunk)]
        return np.concatenate([self.read(part, cache, every=True) for part in parts])

    def read(self, embeds, cache, every=False):
        rows = {"embeds": embeds}
        for name, dims in self.found.inputs.items():  # words alone
            rows[name] = np.zeros((len(embeds), *dims), np.float32)
        if self.mlx:
            rows = {name: mx.array(each) for name, each in rows.items()}
        made = self.decoder.read(rows, cache, every)
        return np.array(made)

    def greedy(self, ids, chunk=None, count=COUNT):
        """Return the ids that follow, each the most probable."""
        cache = self.decoder.begin()
        embeds = self.table.look_up(np.asarray(ids))
        for at in range(0, len(embeds), chunk or len(embeds)):
            last = self.read(embeds[at : at + (chunk or len(embeds))], cache)
        found = []
        for _ in range(count):
            assert last.shape[0] == 1
            found.append(int(last[0].argmax()))
            last = self.read(self.table.look_up(np.array(found[-1:])), cache)
        return found


def assert_same_in_any_chunks(model, ids, logits, continued, close):
    """Compare logits and greedy ids with those of a reference, however the prompt is read."""
    for chunk in (1, 7, 64, None):
        assert away(model.logits(ids, chunk), logits) < close, chunk
        assert model.greedy(ids, chunk) == continued, chunk


def spec(folder, **config):
    return Spec(
        "decoder", OnnxLmConfig(**config), Location("repo", "", folder.parent) / folder.name
    )


def parsed(folder, **config):
    return read_decoder(spec(folder, **config), Headers())


def error_text(folder):
    try:
        parsed(folder)
    except ComposerError as error:
        return str(error).replace(f"repo/{folder.name}", "repo/lm")
    raise AssertionError("it was taken")


def save(model, folder, **changes):
    """Write a folder as transformers has it, its norms not all ones."""
    torch.manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 1:
                value.add_(torch.randn(value.shape) * 0.2)
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string(use_diff=False)) | changes
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state = {n: v for n, v in state.items() if n not in ("lm_head.weight",)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def theirs(model, ids):
    """Return transformers' logits after every id."""
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)[None], use_cache=False).logits[0].numpy()


def their_greedy(model, ids, count=COUNT):
    """Return transformers' ids, each computed without a cache."""
    ids = list(ids)
    for _ in range(count):
        ids.append(int(theirs(model, ids)[-1].argmax()))
    return ids[-count:]


def away(found, expected):
    """Return the largest difference, as a part of the largest number."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()

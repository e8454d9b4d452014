"""Train the shipped decoder a little further in floats, and write a bundle that is not quantized.

The weights that are shipped stand on the grid of their 8 and 4 bits, where packing them again costs
nothing. These have left it, so that packings can be compared. The encoder is as it is shipped.
"""

import argparse
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.nn import functional

from composer.sources.shipped import shipped_folder
from converters.mlx_decoder import convert_decoder
from training import bpe, loop
from training.mega_asr import data, text
from training.mega_asr.export import DECODER, ENCODER, TOKENIZER
from training.mega_asr.model import Decoder, TextConfig

FLOATS = "mlx/llm-bf16"
SCHEMES = {"self_attn": 8, "mlp": 4}  # bits
LOSS = "reply"


def shipped_weights(folder: Path) -> dict[str, Tensor]:
    """Return the shipped decoder's weights as floats, by the names of the torch model."""
    stored, found = mx.load(str(folder / DECODER / "model.safetensors")), {}
    for name, value in stored.items():
        path, _, part = name.rpartition(".")
        if part in ("scales", "biases"):
            continue
        if f"{path}.scales" in stored:
            bits = SCHEMES[path.split(".")[3]]
            value = mx.dequantize(
                value, stored[f"{path}.scales"], stored[f"{path}.biases"], group_size=64, bits=bits
            )
        array = np.array(value.astype(mx.float32))
        found[name.removeprefix("model.")] = torch.from_numpy(array)
    return found


class Refinement:
    """The decoder, and the frozen encoder whose rows it reads."""

    def __init__(self, folder: Path) -> None:
        self.decoder = Decoder(TextConfig())
        self.decoder.load_state_dict(shipped_weights(folder))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.encoder = onnxruntime.InferenceSession(folder / ENCODER, options)

    def loss(self, batch: data.Batch) -> dict[str, Tensor]:
        """Give the cross-entropy of the replies, per token."""
        table = self.decoder.embed_tokens
        x = table(batch.ids)
        parts = []
        for row, (mel, frames) in enumerate(zip(batch.features, batch.frames, strict=True)):
            feed = {"input_features": mel[None, :, :frames].numpy()}
            rows = torch.from_numpy(self.encoder.run(None, feed)[0][0])
            slots = batch.slots[row]
            gathered = rows[slots.clamp(min=0)]
            parts.append(torch.where((slots >= 0)[:, None], gathered, x[row]))
        logits = self.decoder(torch.stack(parts)) @ table.weight.T
        loss = functional.cross_entropy(
            logits.flatten(0, 1), batch.labels.flatten(), ignore_index=data.IGNORED
        )
        return {LOSS: loss}


def write(decoder: Decoder, shipped: Path, bundle: Path) -> None:
    """Write the shipped bundle with another decoder, in bfloat16."""
    state = {f"thinker.model.{name}": tensor for name, tensor in decoder.state_dict().items()}
    bundle.mkdir(parents=True)
    for folder in (TOKENIZER, str(Path(ENCODER).parent), "clips"):
        shutil.copytree(shipped / folder, bundle / folder)
    ids = bpe.load(bundle / TOKENIZER)
    eos = (text.identify(ids, "<|im_end|>"), text.identify(ids, "<|endoftext|>"))
    convert_decoder(state, vars(TextConfig()), bundle / FLOATS, "bfloat16", eos)
    manifest = (shipped / "bundle.yaml").read_text("utf-8")
    (bundle / "bundle.yaml").write_text(manifest.replace(DECODER, FLOATS), "utf-8")


def main() -> None:
    """Train and write from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("run", type=Path, help="folder of the checkpoint")
    parser.add_argument("bundle", type=Path, help="new folder of the bundle")
    arguments = loop.parsed(parser, 600, 16, "utterances", 5e-4)
    arguments.run.mkdir(parents=True, exist_ok=True)
    shipped = shipped_folder("bundles") / "mega-asr-mini"
    refinement = Refinement(shipped)
    training = loop.Loop(refinement.decoder, arguments.run / "checkpoint.pt")
    batches = data.loader(
        arguments.corpus, shipped / TOKENIZER, arguments.size, arguments.seed, training.step
    )
    training.run(
        lambda: refinement.loss(next(batches)), {LOSS: 1.0}, arguments.steps, arguments.peak
    )
    write(refinement.decoder, shipped, arguments.bundle)


if __name__ == "__main__":
    main()

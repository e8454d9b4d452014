"""Measure the word error rate of the exported files on the held-out set."""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import mlx.core as mx
import numpy as np
import onnxruntime
import soxr
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_model

from training import espeak, features, heldout, speech, text
from training.export import DECODER, ENCODER, TOKENIZER

Transcribe = Callable[[speech.Wave], str]
LONGEST = 96  # tokens of a reply


def transcriber(bundle: Path, language: str | None) -> Transcribe:
    """Open a bundle's files; the function takes 22.05 kHz and decodes greedily.

    Without a language the model says it itself, and what it says is cut off.
    """
    session = onnxruntime.InferenceSession(bundle / ENCODER)
    decoder, config = load_model(bundle / DECODER, strict=True)
    decoder.set_dtype(mx.float32)  # of activations and scales: a CPU has no fast bfloat16
    tokenizer = text.load(bundle / TOKENIZER)
    mels = session.get_inputs()[0].shape[1]
    pad = tokenizer.token_to_id("<|audio_pad|>")
    given = tokenizer.encode(text.prefix(language)).ids if language else []

    def transcribe(wave: speech.Wave) -> str:
        wave = soxr.resample(wave, espeak.RATE, features.RATE)
        mel = features.log_mel(wave, mels)[None]
        (rows,) = session.run(None, {"input_features": mel})
        ids = np.array(text.prompt(tokenizer, rows.shape[1]) + given)
        embeds = decoder.model.embed_tokens(mx.array(ids))
        embeds[mx.array(np.flatnonzero(ids == pad))] = mx.array(rows[0]).astype(embeds.dtype)
        reply = []
        steps = generate_step(mx.array(ids), decoder, input_embeddings=embeds, max_tokens=LONGEST)
        for token, _ in steps:
            if int(token) in config["eos_token_id"]:
                break
            reply.append(int(token))
        return text.parse(tokenizer.decode(reply, skip_special_tokens=True)).strip()

    return transcribe


def distance(reference: list[str], found: list[str]) -> int:
    """Count the substitutions, deletions and insertions between two lists of words."""
    row = list(range(len(found) + 1))
    for i, want in enumerate(reference, 1):
        previous, row = row, [i]
        for j, have in enumerate(found, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (want != have)))
    return row[-1]


def measure(transcribe: Transcribe, items: Iterable[heldout.Item]) -> dict[str, dict[str, float]]:
    """Pool the errors of each category, of each condition, and of everything."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for item in items:
        said = transcribe(item.wave)
        errors = distance(item.text.split(), said.split())
        words = len(item.text.split())
        for group in ("all", item.category, item.condition.name):
            entry = [1, words, errors, int(errors > 0)]
            totals[group] = [a + b for a, b in zip(totals[group], entry, strict=True)]
    return {
        group: {
            "utterances": n,
            "words": words,
            "errors": errors,
            "wrong": wrong,
            "wer": round(100 * errors / words, 2),
        }
        for group, (n, words, errors, wrong) in totals.items()
    }


def main() -> None:
    """Print one JSON line for each group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--size", type=int, default=heldout.SIZE)
    parser.add_argument("--seed", type=int, default=heldout.SEED)
    parser.add_argument("--language", help="force a language instead of letting the model say it")
    arguments = parser.parse_args()
    transcribe = transcriber(arguments.bundle, arguments.language)
    groups = measure(transcribe, heldout.items(arguments.size, arguments.seed))
    for group, entry in groups.items():
        print(json.dumps({"group": group, **entry}))


if __name__ == "__main__":
    main()

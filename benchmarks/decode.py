"""Decode greedily on MLX: a composer bundle with mlx.lm and mlx-lm's generate_step."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.timing import in_turns, ratio, table
from benchmarks.weights import SMALL, write_bundle

THEIRS = "mlx-lm generate_step"
OURS = "composer mlx.lm"


def mlx_lm(folder: Path, ids: np.ndarray, tokens: int) -> Callable[[], list[int]]:
    """Return mlx-lm's own greedy decoding of ids, with the same stop id."""
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.utils import load_model

    model, config = load_model(folder, strict=True)
    ends = set(config["eos_token_id"])

    def decode() -> list[int]:
        given = mx.array(ids)
        embeds = model.model.embed_tokens(given)
        answer = []
        for token, _ in generate_step(given, model, input_embeddings=embeds, max_tokens=tokens):
            if token in ends:
                break
            answer.append(int(token))
        return answer

    return decode


def main(arguments: list[str]) -> None:
    """Compare the ids, then print medians and tokens per second."""
    parser = argparse.ArgumentParser(prog="scripts/bench decode", description=__doc__)
    parser.add_argument("--prompt", type=int, default=64, help="ids of the prompt")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=21)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_bundle(Path(folder), SMALL, "small", "random weights")
        compare(manifest, options.prompt, options.tokens, options.turns)


def compare(manifest: Path, prompt: int, tokens: int, turns: int) -> None:
    """Run the task `continue` and mlx-lm on the same ids."""
    import composer

    ids = np.random.default_rng(0).integers(0, 256, prompt)
    options = {"answer": {"max_tokens": tokens}}
    theirs = mlx_lm(manifest.parent / "weights/mlx", ids, tokens)
    with composer.load(manifest, task="continue") as bundle:

        def ours() -> list[int]:
            result = bundle.run(task="continue", ids=ids, options=options)
            answer: list[int] = result.outputs["ids"].tolist()
            return answer

        ways = {THEIRS: theirs, OURS: ours}
        expected = theirs()
        assert ours() == expected, "other ids"
        print(f"{prompt} ids, then the same {len(expected)}")
        spent = in_turns(ways, turns)
    print(table(spent, THEIRS))
    print(f"{OURS} gives {1 / ratio(spent, OURS, THEIRS):.3f} of the tokens a second")

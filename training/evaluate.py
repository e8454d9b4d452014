"""Measure the word error rate of a bundle on the held-out set."""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import composer
from training import espeak, heldout, speech

TASK = "transcribe"
SENTENCES = "sentences"  # the group of all clips of one sentence
Transcribe = Callable[[speech.Wave], str]


def transcriber(bundle: Path, language: str | None) -> Transcribe:
    """Load a bundle; the function takes 22.05 kHz and decodes greedily.

    Where a bundle takes a language and gets none, the model states one itself, and that statement
    is cut off. A bundle of several tasks has one called `transcribe`, which takes no language.
    """
    loaded = composer.load(bundle)
    several = TASK in loaded.tasks
    options = {"task": TASK} if several else {"language": language or ""}

    def transcribe(wave: speech.Wave) -> str:
        return loaded.run(audio=(wave, espeak.RATE), **options).text

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
        hypothesis = transcribe(item.wave)
        errors = distance(item.text.split(), hypothesis.split())
        words = len(item.text.split())
        alone = () if item.category == heldout.LONG else (SENTENCES,)
        for group in ("all", *alone, item.category, item.condition.name):
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
    parser.add_argument(
        "--language", help="force a language instead of letting the model detect it"
    )
    arguments = parser.parse_args()
    # Before anything else: in a process that has loaded a bundle the synthesizer speaks otherwise.
    items = list(heldout.items(arguments.size, arguments.seed))
    transcribe = transcriber(arguments.bundle, arguments.language)
    groups = measure(transcribe, items)
    for group, entry in groups.items():
        print(json.dumps({"group": group, **entry}))


if __name__ == "__main__":
    main()

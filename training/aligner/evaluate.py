"""Measure an aligner against the synthesizer's own times, on voices and sentences it never met."""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

import composer
from training import corpus, espeak, grammar, heldout, speech, targets

SIZE, SEED = 300, 2027
LONG, LONG_SECONDS = "long", 6.0
Span = tuple[float, float] | None


@dataclass(frozen=True)
class Item:
    """A held-out clip at 22.05 kHz; a word has no span where it is run together with another."""

    text: str
    category: str
    voice: str
    condition: speech.Condition
    wave: speech.Wave
    spans: list[Span]


def spoken(random: Random, category: str) -> tuple[str, speech.Voice, speech.Wave, list[Span]]:
    """Speak a held-out sentence with a held-out voice, or several until they are long."""
    voice = speech.voice(random, held_out=True)
    texts: list[str] = []
    waves: list[speech.Wave] = []
    spans: list[Span] = []
    while not waves or (category == LONG and sum(map(len, waves)) < LONG_SECONDS * espeak.RATE):
        kind = random.choice(grammar.CATEGORIES) if category == LONG else category
        text = grammar.sentence(random, kind, held_out=True)
        made = speech.speak(text, voice)
        entry = corpus.Utterance(text, kind, voice.name, 0, 0, made.phones, made.words)
        gap = np.zeros(int(random.uniform(0.05, 0.5) * espeak.RATE), np.float32)
        begin = (sum(map(len, waves)) + len(gap)) / espeak.RATE
        for span in targets.word_spans(entry):
            spans.append(span and (begin + span[0], begin + span[1]))
        texts.append(text)
        waves += [gap, made.wave]
    return " ".join(texts), voice, np.concatenate(waves), spans


def items(size: int = SIZE, seed: int = SEED) -> Iterator[Item]:
    """Make the set, one category after the other."""
    random = Random(f"aligner held out {seed}")
    babble = [spoken(random, "questions")[2] for _ in range(heldout.BABBLE)]
    for number in range(size):
        category = heldout.CATEGORIES[number % len(heldout.CATEGORIES)]
        text, voice, clean, spans = spoken(random, category)
        condition = speech.condition(random)
        wave = speech.record(clean, espeak.RATE, condition, random, babble)
        yield Item(text, category, voice.name, condition, wave, spans)


def errors(words: Iterable[composer.Word], spans: list[Span]) -> list[tuple[float, float]]:
    """Return how many milliseconds the start and the end of each word with a span are off."""
    found = []
    for word, span in zip(words, spans, strict=True):
        if span and word.start is not None and word.end is not None:
            found.append((1000 * abs(word.start - span[0]), 1000 * abs(word.end - span[1])))
    return found


def summary(found: list[tuple[float, float]], repaired: int, words: int) -> dict[str, float]:
    """Return the median, the mean and the 95th percentile of starts and of ends."""
    made: dict[str, float] = {"words": len(found)}
    for name, column in zip(("start", "end"), np.array(found).T, strict=True):
        made[f"{name}_median"] = round(float(np.median(column)), 1)
        made[f"{name}_mean"] = round(float(column.mean()), 1)
        made[f"{name}_95"] = round(float(np.quantile(column, 0.95)), 1)
    return {**made, "repaired": round(100 * repaired / words, 2)}


def measure(bundle: Path, every: list[Item]) -> dict[str, dict[str, float]]:
    """Pool the errors of each category, of clean and of other recordings, and of everything."""
    pooled: dict[str, list[tuple[float, float]]] = defaultdict(list)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    with composer.load(bundle) as loaded:
        for item in every:
            made = composer.align(loaded, (item.wave, espeak.RATE), item.text)
            found = errors(made.words, item.spans)
            quality = "clean" if item.condition.name == "clean" else "noise or room"
            for group in ("all", item.category, quality):
                pooled[group] += found
                counts[group][0] += sum(bool(word.repaired) for word in made.words)
                counts[group][1] += len(made.words)
    return {group: summary(found, *counts[group]) for group, found in pooled.items()}


def main() -> None:
    """Print a JSON line for each group: times in milliseconds, what was repaired in percent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    # Before anything else: in a process that has loaded a bundle the synthesizer speaks otherwise.
    every = list(items(arguments.size, arguments.seed))
    for group, entry in measure(arguments.bundle, every).items():
        print(json.dumps({"group": group, **entry}))


if __name__ == "__main__":
    main()

"""The held-out set: sentences and voices that are not in training, from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from training import espeak, grammar, speech

SEED = 2026
SIZE = 600
LONG = "long"
LONG_SECONDS = 8.2  # more than one attention window
CATEGORIES = (*grammar.CATEGORIES, LONG)
BABBLE = 24  # held-out utterances that other held-out utterances are mixed with


@dataclass(frozen=True)
class Item:
    """One held-out utterance at 22.05 kHz."""

    text: str
    category: str
    voice: str
    condition: speech.Condition
    wave: speech.Wave


def spoken(random: Random, category: str) -> tuple[str, speech.Voice, speech.Wave]:
    """Speak a held-out sentence with a held-out voice, or several until they are long."""
    voice = speech.voice(random, held_out=True)
    if category != LONG:
        text = grammar.sentence(random, category, held_out=True)
        return text, voice, speech.speak(text, voice).wave
    texts: list[str] = []
    waves: list[speech.Wave] = []
    while sum(map(len, waves)) < LONG_SECONDS * espeak.RATE:
        texts.append(grammar.sentence(random, random.choice(grammar.CATEGORIES), held_out=True))
        pause = np.zeros(int(random.uniform(0.1, 0.4) * espeak.RATE), np.float32)
        waves += [speech.speak(texts[-1], voice).wave, pause]
    return " ".join(texts), voice, np.concatenate(waves)


def items(size: int = SIZE, seed: int = SEED) -> Iterator[Item]:
    """Make the set, one category after the other.

    The seed decides sentences, voices and conditions. The samples are the same in every process
    that begins with this: the synthesizer carries state from one utterance to the next.
    """
    random = Random(f"held out {seed}")
    babble = [spoken(random, category)[2] for category in grammar.CATEGORIES * (BABBLE // 3)]
    for number in range(size):
        category = CATEGORIES[number % len(CATEGORIES)]
        text, voice, clean = spoken(random, category)
        condition = speech.condition(random)
        wave = speech.record(clean, espeak.RATE, condition, random, babble)
        yield Item(text, category, voice.name, condition, wave)

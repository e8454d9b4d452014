"""The held-out set: sentences and voices that training never met, from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from training import espeak, grammar, speech

SEED = 2026
SIZE = 600
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
    """Speak a held-out sentence with a held-out voice."""
    text = grammar.sentence(random, category, held_out=True)
    voice = speech.voice(random, held_out=True)
    return text, voice, speech.speak(text, voice).wave


def items(size: int = SIZE, seed: int = SEED) -> Iterator[Item]:
    """Make the set, one category after the other; the same seed gives the same samples."""
    random = Random(f"held out {seed}")
    babble = [
        spoken(random, grammar.CATEGORIES[number % len(grammar.CATEGORIES)])[2]
        for number in range(BABBLE)
    ]
    for number in range(size):
        category = grammar.CATEGORIES[number % len(grammar.CATEGORIES)]
        text, voice, clean = spoken(random, category)
        condition = speech.condition(random)
        wave = speech.record(clean, espeak.RATE, condition, random, babble)
        yield Item(text, category, voice.name, condition, wave)

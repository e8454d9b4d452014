"""Exchanges that teach the language model text: a message and its reply."""

from collections.abc import Callable
from random import Random

from training import grammar
from training.elderwise import text

NUMBERS = [grammar.number(Random(0), value, value) for value in range(100)]
CYCLES = (grammar.WEEKDAYS, grammar.MONTHS)
SILENT = "there is no audio"

Exchange = tuple[str, str]


def sentence(random: Random) -> str:
    """Draw a sentence of the training side."""
    return grammar.sentence(random, random.choice(grammar.CATEGORIES), held_out=False)


def repeat(random: Random) -> Exchange:
    """Repeat a sentence."""
    spoken = sentence(random)
    return f"Repeat: {spoken}", spoken


def spell(random: Random) -> Exchange:
    """Name the letters of a word."""
    word = random.choice(sentence(random).split()).replace("'", "")
    return f"Spell: {word}", " ".join(word)


def read(random: Random) -> Exchange:
    """Read digits out."""
    digits = random.choices(range(10), k=random.randint(2, 8))
    words = " ".join(grammar.DIGITS[digit] for digit in digits)
    return f"Read out: {' '.join(map(str, digits))}", words


def count(random: Random) -> Exchange:
    """Count up."""
    low = random.randint(0, 92)
    high = low + random.randint(1, 7)
    return f"Count from {NUMBERS[low]} to {NUMBERS[high]}.", " ".join(NUMBERS[low : high + 1])


def neighbour(random: Random) -> Exchange:
    """Name the next or the last weekday, month or number."""
    step, word = random.choice(((1, "after"), (-1, "before")))
    if random.random() < 0.4:
        at = random.randint(1, 98)
        return f"What comes {word} {NUMBERS[at]}?", NUMBERS[at + step]
    cycle = random.choice(CYCLES)
    at = random.randrange(len(cycle))
    return f"What comes {word} {cycle[at]}?", cycle[(at + step) % len(cycle)]


def pick(random: Random) -> Exchange:
    """Find the first or the last word of a sentence."""
    spoken, (name, at) = sentence(random), random.choice((("first", 0), ("last", -1)))
    return f"Say the {name} word of: {spoken}", spoken.split()[at]


def deaf(random: Random) -> Exchange:
    """Reply to silence."""
    return text.INSTRUCTION, SILENT


TASKS: dict[Callable[[Random], Exchange], float] = {
    repeat: 0.4,
    spell: 0.15,
    read: 0.15,
    count: 0.1,
    neighbour: 0.1,
    pick: 0.08,
    deaf: 0.02,
}


def exchange(random: Random) -> Exchange:
    """Draw one exchange."""
    return random.choices(list(TASKS), weights=list(TASKS.values()))[0](random)

"""Sentences: connected digits, dates and everyday questions."""

import hashlib
import re
from collections.abc import Callable
from random import Random

CATEGORIES = ("digits", "dates", "questions")
HELD_OUT_SHARE = 10  # one sentence in ten belongs to the evaluation, chosen by its hash

DIGITS = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
MONTHS = (
    "january february march april may june july august september october november december"
).split()
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()

SLOTS: dict[str, list[str]] = {
    "place": (
        "train station|airport|hospital|library|museum|post office|bank|school|park|hotel|"
        "market|harbour|church|theatre|bakery|pharmacy|restaurant|swimming pool|bus stop|"
        "city hall|bridge|beach|castle|garden"
    ).split("|"),
    "city": (
        "london|paris|berlin|madrid|rome|tokyo|sydney|boston|chicago|dublin|oslo|"
        "singapore|cairo|lisbon|vienna|geneva"
    ).split("|"),
    "thing": (
        "coffee|tea|bread|water|milk|soup|cheese|chocolate|rice|fish|salad|orange juice|"
        "ice cream|a ticket|a map|a newspaper|an umbrella|a bicycle|a blanket|a camera"
    ).split("|"),
    "adjective": "good cheap quiet small large famous old modern friendly beautiful".split(),
    "colour": "red blue green yellow black white brown purple".split(),
    "object": (
        "car house chair table window door box book lamp bottle jacket shirt cup key"
    ).split(),
    "person": (
        "my brother|my sister|your mother|your father|the doctor|the teacher|the driver|"
        "the manager|our neighbour|the waiter|her friend|his daughter"
    ).split("|"),
    "vehicle": "train bus car boat plane taxi bicycle".split(),
    "weekday": WEEKDAYS,
    "month": MONTHS,
    "moment": (
        "today|tomorrow|tonight|this morning|this evening|next week|right now|this afternoon"
    ).split("|"),
    "action": (
        "open the window|close the door|turn on the light|call a taxi|play some music|"
        "set an alarm|read the message|send a letter|book a room|cancel the meeting"
    ).split("|"),
}

QUESTIONS = [
    "where is the nearest {place}",
    "how do i get from the {place} to the {place}",
    "how far is it from {city} to {city} by {vehicle}",
    "what time does the {place} open on {weekday}",
    "when does the {place} close {moment}",
    "how much does {thing} cost in {city}",
    "can you tell me the way to the {adjective} {place}",
    "is there a {adjective} {place} near the {place}",
    "is there a {adjective} {place} in {city}",
    "when does the next {vehicle} to {city} leave",
    "what is the weather like in {city} {moment}",
    "will it rain in {city} on {weekday}",
    "could i have {thing} and {thing} please",
    "do you have {thing} in {colour}",
    "who left the {colour} {object} in the {place}",
    "where did {person} put the {colour} {object}",
    "why is the {object} next to the {colour} {object}",
    "can you {action} {moment}",
    "would you please {action} at {hour}",
    "what is the number of the {place} in {city}",
    "is {person} going to {city} on {weekday}",
    "how many {object}s are there in the {place}",
    "can {person} take the {vehicle} to {city} {moment}",
    "did {person} buy {thing} at the {place}",
    "which {vehicle} goes to the {place} in {month}",
    "may i have a table for {number} at {hour}",
    "how long does {person} want to stay in {city}",
    "does the {vehicle} from {city} arrive at {hour}",
    "what does {person} want to do {moment}",
    "have you seen the {adjective} {object} of {person}",
]
PLURALS = {"boxs": "boxes"}


def digits(random: Random) -> str:
    """Draw a run of three to fourteen digits."""
    return " ".join(random.choices(DIGITS, k=random.choice((3, 4, 5, 6, 7, 8, 9, 10, 12, 14))))


def number(random: Random, low: int, high: int) -> str:
    """Draw a number below one hundred, in words."""
    value = random.randint(low, high)
    if value < 10:
        return DIGITS[value]
    if value < 20:
        return TEENS[value - 10]
    tens, rest = divmod(value, 10)
    return TENS[tens - 2] + (f" {DIGITS[rest]}" if rest else "")


def year(random: Random) -> str:
    """Draw a year between 1900 and 2059, in words."""
    kind = random.random()
    if kind < 0.25:
        return f"two thousand and {number(random, 1, 9)}"
    century = "nineteen" if kind < 0.6 else "twenty"
    return f"{century} {number(random, 10, 99 if century == 'nineteen' else 59)}"


def hour(random: Random) -> str:
    """Draw a time of day, in words."""
    clock = number(random, 1, 12)
    return random.choice(
        [f"{clock} o'clock", f"half past {clock}", f"quarter to {clock}", f"{clock} thirty"]
    )


def dates(random: Random) -> str:
    """Draw a date, with or without weekday, year and time."""
    day = random.randint(1, 31)
    if day <= 20:
        ordinal = ORDINALS[day - 1]
    else:
        tens = "twenty" if day < 30 else "thirty"
        ordinal = "thirtieth" if day == 30 else f"{tens} {ORDINALS[day % 10 - 1]}"
    month = random.choice(MONTHS)
    date = random.choice([f"the {ordinal} of {month}", f"{month} the {ordinal}"])
    if random.random() < 0.45:
        date = f"{random.choice(WEEKDAYS)} {date}"
    if random.random() < 0.75:
        date = f"{date} {year(random)}"
    if random.random() < 0.2:
        date = f"{date} at {hour(random)}"
    return date


def questions(random: Random) -> str:
    """Draw an everyday question."""

    def fill(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot == "number":
            return number(random, 2, 9)
        return hour(random) if slot == "hour" else random.choice(SLOTS[slot])

    text = re.sub(r"\{(\w+)\}", fill, random.choice(QUESTIONS))
    return " ".join(PLURALS.get(word, word) for word in text.split())


MAKERS: dict[str, Callable[[Random], str]] = {
    "digits": digits,
    "dates": dates,
    "questions": questions,
}


def is_held_out(text: str) -> bool:
    """Return whether a sentence belongs to the evaluation, from its own hash."""
    return hashlib.sha256(text.encode()).digest()[0] % HELD_OUT_SHARE == 0


def sentence(random: Random, category: str, held_out: bool) -> str:
    """Draw a sentence of one category from one side of the split."""
    while True:
        text = MAKERS[category](random)
        if is_held_out(text) == held_out:
            return text


def words(draws: int = 20000) -> tuple[list[str], list[str]]:
    """List the words that begin a sentence of the training side, and all words of it."""
    random = Random("words")
    drawn = [
        sentence(random, random.choice(CATEGORIES), held_out=False).split() for _ in range(draws)
    ]
    return sorted({line[0] for line in drawn}), sorted({word for line in drawn for word in line})

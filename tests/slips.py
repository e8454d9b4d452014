"""Slips of authors: shipped manifests, each with one small thing wrong, generated from a seed."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from composer.core import registry

Data = dict[str, Any]
Path = tuple[Any, ...]
# The mappings whose keys an author chooses.
OWN = ("sources", "components", "variants", "tasks", "inputs", "graph", "outputs", "adapters")


def walk(node: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value with its path."""
    yield at, node
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from walk(value, (*at, key))


def get(data: Any, at: Path) -> Any:
    for key in at:
        data = data[key]
    return data


def put(data: Data, at: Path, value: Any) -> None:
    get(data, at[:-1])[at[-1]] = value


def pick(rng: random.Random, data: Data, fits: Callable[[Path, Any], bool]) -> Path | None:
    found = [at for at, value in walk(data) if at and fits(at, value)]
    return rng.choice(found) if found else None


def typo(rng: random.Random, word: str) -> str:
    """Return a word with a letter dropped, doubled, swapped or replaced."""
    at = rng.randrange(len(word))
    other = rng.choice(string.ascii_lowercase)
    made = rng.choice([
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
        word[:at] + other + word[at + 1 :],
        word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
    ])  # fmt: skip
    return made if made not in (word, "") else word + other


def chosen_by_author(at: Path) -> bool:
    return len(at) > 1 and at[-2] in OWN


def misspelt_key(rng: random.Random, data: Data) -> Any:
    at = pick(rng, data, lambda at, _: isinstance(at[-1], str) and not chosen_by_author(at))
    if at is None:
        return None
    owner = get(data, at[:-1])
    owner[typo(rng, at[-1])] = owner.pop(at[-1])
    return at


def missing_key(rng: random.Random, data: Data) -> Any:
    at = pick(rng, data, lambda at, _: isinstance(at[-1], str))
    if at is not None:
        del get(data, at[:-1])[at[-1]]
    return at


WRONG = [None, True, 3, -1, 0.5, "3", "yes", "", [], [1], {}, {"a": 1}, ["a"]]


def wrong_type_fault(rng: random.Random, data: Data) -> Any:
    at = pick(rng, data, lambda at, value: True)
    if at is None:
        return None
    now = get(data, at)
    others = [each for each in WRONG if type(each) is not type(now)]
    put(data, at, rng.choice(others))
    return at


NUMBERS = [-1, 0, -0.5, 10**9, 1.5, 10**15, 7]


def number_out_of_range(rng: random.Random, data: Data) -> Any:
    at = pick(rng, data, lambda at, value: type(value) in (int, float))
    if at is not None:
        put(data, at, rng.choice(NUMBERS))
    return at


STRANGE = ["speed", "temprature", "device", "wiht", "Mels", "max_token", "comment", "path"]


def unknown_key(rng: random.Random, data: Data) -> Any:
    at = pick(rng, data, lambda at, value: isinstance(value, dict) and at[-1] not in OWN)
    if at is None:
        return None
    get(data, at)[rng.choice(STRANGE)] = rng.choice([1, "text", True, [], "$asked.ids"])
    return at


LATE = {"weights": "repo/x", "files": "repo/x", "precision": "float16", "emits": "decoder.embed",
        "adapters": {"speech": {"weights": "repo/lora"}}, "config": {"mels": 80}, "port": "f32 M F",
        "default": 3, "split": {"seconds": 0}, "channel": "middle", "type": "tensor", "with": {},
        "graph": {}, "tasks": {}, "inputs": {"task": "text"}, "composer": 1}  # fmt: skip


def key_in_the_wrong_place(rng: random.Random, data: Data) -> Any:
    at = pick(rng, data, lambda at, value: isinstance(value, dict) and at[-1] not in OWN)
    key = rng.choice(list(LATE))
    if at is None or key in get(data, at):
        return None
    get(data, at)[key] = deepcopy(LATE[key])
    return (*at, key)


def wrong_name(rng: random.Random, data: Data) -> Any:
    at = pick(rng, data, lambda at, _: chosen_by_author(at))
    if at is None:
        return None
    owner = get(data, at[:-1])
    owner[rng.choice(["Soft", "my-part", "2nd", "a b", "scatter", "fill", ""])] = owner.pop(at[-1])
    return at


def wrong_text(rng: random.Random, data: Data) -> Any:
    """Misspell a text that is no free text: a kind, a method, a path, a choice, a reference."""
    free = ("summary", "template", "default", "first", "next", "what", "how", "from", "licence")
    at = pick(
        rng, data, lambda at, value: isinstance(value, str) and value and not set(at) & set(free)
    )
    if at is None:
        return None
    now = get(data, at)
    changes = [typo(rng, now), now.upper(), f"${now}", now.removeprefix("$"), f"../{now}",
               f"https://huggingface.co/{now}", f"/{now}", f"{now}.more", f"{now} "]  # fmt: skip
    put(data, at, rng.choice(changes))
    return at


def wrong_setting(rng: random.Random, data: Data) -> Any:
    """Give a setting that the kind has a value of another type or far out of its range."""
    names = [name for name, each in data["components"].items() if "use" in each]
    name = rng.choice(names)
    use = data["components"][name]["use"]
    kinds = registry.family_kinds(use) or {"": use}
    fields = registry.component(rng.choice(list(kinds.values()))).Config.model_fields
    if not fields:
        return None
    setting = rng.choice(list(fields))
    data["components"][name].setdefault("config", {})[setting] = rng.choice([*WRONG[1:], *NUMBERS])
    return ("components", name, "config", setting)


def wrong_option(rng: random.Random, data: Data) -> Any:
    """Give an option that the method has a value of another type or out of its range."""
    at = pick(rng, data, lambda at, value: at[-1] == "run" and "." in str(value))
    if at is None:
        return None
    method = get(data, at).partition(".")[2]
    kinds = [registry.component(each) for each in registry.component_names()]
    signatures = [kind.methods[method] for kind in kinds if method in kind.methods]
    options = {option for signature in signatures for option in signature.options}
    if not options:
        return None
    option = rng.choice(sorted(options))
    node = get(data, at[:-1])
    node.setdefault("with", {})[option] = rng.choice([*WRONG, *NUMBERS, "$asked.ids", [1, 2, 3]])
    return (*at[:-1], "with", option)


def both_forms(rng: random.Random, data: Data) -> Any:
    task = {key: data[key] for key in ("inputs", "graph", "outputs") if key in data}
    if "tasks" in data:
        data["graph"] = deepcopy(next(iter(data["tasks"].values()))["graph"])
    else:
        data["tasks"] = {"main": deepcopy(task)}
    return ("tasks",)


KINDS = (
    misspelt_key, missing_key, wrong_type_fault, number_out_of_range, unknown_key,
    key_in_the_wrong_place, wrong_name, wrong_text, wrong_setting, wrong_option, both_forms,
)  # fmt: skip


def slips(manifests: dict[str, Data], seed: int) -> Iterator[tuple[str, str, Data]]:
    """Yield without end: the manifest's name, what was done where, and the data."""
    rng = random.Random(seed)
    while True:
        name = rng.choice(sorted(manifests))
        kind = rng.choice(KINDS)
        data = deepcopy(manifests[name])
        at = kind(rng, data)
        if at is not None and data != manifests[name]:
            yield name, f"{kind.__name__} at {'.'.join(map(str, at))}", data

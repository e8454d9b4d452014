"""Say what a bundle does, and which command does it."""

from __future__ import annotations

from composer.manifest import Manifest
from composer.manifest.entries import DEFAULT, Input, Task

FIRST = ("align", "transcribe", "chat")
PLACEHOLDERS = {"audio": "clip.wav", "image": "photo.jpg", "images": "photo.jpg", "text": "TEXT"}


def abilities(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of a bundle's tasks; of its only one, without a name, what does it."""
    return tuple(_verb(task) if name == DEFAULT else name for name, task in manifest.tasks.items())


def transcribes(manifest: Manifest) -> bool:
    """Return whether a bundle has a task that makes text of one clip."""
    return any(_verb(task) == "transcribe" for task in manifest.tasks.values())


def next_command(manifest: Manifest, called: str) -> str:
    """Return the command line to try first, for a bundle as it is called."""
    by_verb = {_verb(task): task for task in reversed([*manifest.tasks.values()])}
    for verb in FIRST:
        if verb in by_verb:
            return " ".join(("composer", verb, called, *_positional(verb)))
    task = by_verb["run"]
    words = ["composer", "run", called]
    if task.name != DEFAULT and len(manifest.tasks) > 1:
        words += ["--task", task.name]
    for name, entry in task.inputs.items():
        if entry.default is None:
            words.append(f"-i {name}={_placeholder(entry)}")
    return " ".join(words)


def _positional(verb: str) -> tuple[str, ...]:
    clip = PLACEHOLDERS["audio"]
    return {"align": (clip, '"TEXT"'), "transcribe": (clip,)}.get(verb, ())


def _placeholder(entry: Input) -> str:
    return PLACEHOLDERS.get(entry.type, "values.npy")


def _verb(task: Task) -> str:
    """Return the command for a task: by what it takes and gives, as its manifest names it."""
    kinds = [each.type for each in task.inputs.values()]
    if "audio" in kinds and "transcript" in task.inputs:
        return "align"
    if kinds.count("audio") == 1 and not set(kinds) - {"audio", "text"} and "text" in task.outputs:
        return "transcribe"
    if task.inputs.keys() & task.outputs.keys():  # such as the history of a conversation
        return "chat"
    return "run"

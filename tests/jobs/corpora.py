"""Corpora of the miniature's clips, and what has to be the same after a run that was disturbed."""

import json

import soundfile

from composer.sources.shipped import shipped_folder

CLIPS = sorted((shipped_folder("bundles") / "mega-asr-mini" / "clips").glob("*.flac"))
OWN = ("account.json", "times.jsonl")  # they have times


def short_parts(path, count):
    """Write a manifest of so many parts of the clips, 0.5 to 0.9 s each, all with other ids."""
    entries, turn = [], 0
    lengths = {clip: soundfile.info(clip).duration for clip in CLIPS}
    while len(entries) < count:
        offset, duration = round(0.02 * turn, 2), round(0.5 + 0.1 * (turn % 5), 1)
        for clip, length in lengths.items():
            if offset + duration < length and len(entries) < count:
                where = {"audio_filepath": str(clip), "offset": offset, "duration": duration}
                entries.append({"id": f"{clip.stem}-{turn:03}", **where})
        turn += 1
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def rows_of(folder):
    """Return the rows of a folder in their order."""
    found = []
    for path in sorted(folder.glob("part-*.jsonl")):
        found += map(json.loads, path.read_text("utf-8").splitlines())
    return found


def output_of(folder):
    """Return the files of a folder and their bytes, without those that have times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in OWN}

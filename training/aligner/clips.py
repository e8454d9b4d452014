"""Write the clips that ship with an aligner: held-out voices and sentences, with true times."""

import argparse
import json
from pathlib import Path

import soundfile

from training import espeak
from training.aligner import evaluate
from training.clips import describe

COUNT, SEED = 6, 5


def write(folder: Path) -> None:
    """Write the FLAC files and `references.jsonl`, where a word has its start and end or null."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, item in enumerate(evaluate.items(COUNT, SEED), 1):
        name = f"{item.category}-{number:02}.flac"
        soundfile.write(folder / name, item.wave, espeak.RATE, subtype="PCM_16")
        spans = [span and [round(each, 3) for each in span] for span in item.spans]
        entry = {
            "audio": name,
            "text": item.text,
            "spans": spans,
            "voice": item.voice,
            "condition": describe(item.condition),
        }
        lines.append(json.dumps(entry) + "\n")
    (folder / "references.jsonl").write_text("".join(lines))


def main() -> None:
    """Write the clips from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="the bundle's folder, which gets `clips`")
    write(parser.parse_args().bundle / "clips")


if __name__ == "__main__":
    main()

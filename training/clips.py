"""Write the clips that ship with a bundle: held-out voices, held-out sentences."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import soundfile

from training import espeak, heldout, speech

# category, condition, and the shortest and longest duration in seconds
Plan = tuple[tuple[str, speech.Condition, float, float], ...]
MEGA_ASR: Plan = (
    ("digits", speech.Condition(), 1.0, 3.0),
    ("digits", speech.Condition("white", 15.0), 2.0, 5.0),
    ("digits", speech.Condition("pink", 10.0, 0.3), 3.0, 6.0),
    ("long", speech.Condition("babble", 15.0), 8.2, 11.0),
    ("dates", speech.Condition(), 2.0, 4.0),
    ("dates", speech.Condition("pink", 10.0), 2.0, 5.0),
    ("dates", speech.Condition(reverberation=0.4), 3.0, 6.0),
    ("dates", speech.Condition("babble", 12.0), 2.0, 5.0),
    ("questions", speech.Condition(), 1.5, 4.0),
    ("questions", speech.Condition("white", 10.0), 1.5, 5.0),
    ("questions", speech.Condition("pink", 20.0, 0.3), 1.5, 5.0),
    ("questions", speech.Condition("babble", 10.0), 1.5, 5.0),
)
ELDERWISE: Plan = (
    ("digits", speech.Condition(), 1.0, 3.0),
    ("digits", speech.Condition("white", 15.0), 3.0, 6.0),
    ("dates", speech.Condition(), 2.0, 4.0),
    ("dates", speech.Condition(reverberation=0.4), 3.0, 6.0),
    ("questions", speech.Condition(), 1.5, 4.0),
    ("questions", speech.Condition("pink", 10.0), 1.5, 5.0),
    ("questions", speech.Condition("white", 20.0, 0.3), 1.5, 5.0),
    ("questions", speech.Condition("babble", 15.0), 1.5, 5.0),
)
# by bundle: the seed, and the clips
PLANS: dict[str, tuple[int, Plan]] = {
    "mega-asr-mini": (12, MEGA_ASR),
    "elderwise-mini": (31, ELDERWISE),
}


def write(folder: Path, seed: int, plan: Plan) -> None:
    """Write the FLAC files and `references.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    random = Random(f"clips {seed}")
    babble = [heldout.spoken(random, "questions")[2] for _ in range(heldout.BABBLE)]
    lines = []
    for number, (category, condition, shortest, longest) in enumerate(plan, 1):
        while True:
            text, voice, wave = heldout.spoken(random, category)
            if shortest <= len(wave) / espeak.RATE <= longest:
                break
        condition = replace(condition, peak=random.uniform(0.3, 0.9))
        wave = speech.record(wave, espeak.RATE, condition, random, babble)
        name = f"{category}-{number:02}.flac"
        soundfile.write(folder / name, wave, espeak.RATE, subtype="PCM_16")
        entry = {"audio": name, "text": text, "voice": voice.name, "condition": describe(condition)}
        lines.append(json.dumps(entry) + "\n")
    (folder / "references.jsonl").write_text("".join(lines))


def describe(condition: speech.Condition) -> str:
    """Name a condition with its numbers."""
    parts = [f"room {condition.reverberation} s"] if condition.reverberation else []
    parts += [f"{condition.noise} {condition.snr:g} dB"] if condition.noise else []
    return ", ".join(parts) or "clean"


def main() -> None:
    """Write the clips from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="the bundle's folder, which gets `clips`")
    bundle = parser.parse_args().bundle
    write(bundle / "clips", *PLANS[bundle.name])


if __name__ == "__main__":
    main()

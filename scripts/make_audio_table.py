"""Write docs/audio.md: what becomes of a clip in each container and codec that ffmpeg writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.audio_sweep import codecs, containers, outcome  # noqa: E402

INTRODUCTION = """# Audio that is read

Written by `scripts/make_audio_table.py`: a clip of two seconds in every container and codec that
{version} can write. `whole` means that as many samples are read
as ffmpeg decodes, up to the delay of an encoder; any other clip is refused with the words that
stand here, and nothing is ever read in part. Convert what is
refused: `ffmpeg -i INPUT -ar 16000 a.wav`.

Also read to their ends, each compared with ffmpeg's decoding in `tests/test_audio_whole.py`: MP3 of
variable bit rate with or without a Xing header, joined MP3 and FLAC files, chained Ogg, a WAV whose
32-bit size wrapped or was never written, and a CAF or WebM of a live recording, which has no sizes
(`tests/formats/test_pyav.py`). A recording that was cut short is refused (S483, S489), or read as
far as it goes by `--partial`. A file that another kind of file follows is refused with the place.

MP4 (m4a, mov, 3gp), WebM and Matroska, ASF (wma), AMR, AAC and CAF are decoded by
[PyAV](https://pypi.org/project/av), an extra: `pip install 'bundle-composer[av]'`. Without it they
are refused, and the error names this command. That such a file is whole is found out by the sizes
that its container states, and its sound is compared with the duration that it claims
([why so](decisions/040-pyav.md)). This table is that with PyAV.

Of several channels the mean is taken. Where one is inverted, up to its gain or the noise of a
codec, that is refused (S488): choose `--channel left` or `right`, or `each`.

| container | codec | result |
| --- | --- | --- |
"""


def main() -> None:
    """Write every container with what became of its codecs."""
    version = subprocess.run(
        ["ffmpeg", "-version"], capture_output=True, text=True, check=True
    ).stdout.split(" Copyright")[0]
    found: dict[tuple[str, str], list[str]] = {}
    for container in containers():
        for codec in codecs(container):
            result = outcome(container, codec)
            if result:
                found.setdefault((container, result), []).append(codec)
    rows = [
        f"| {container} | {', '.join(names)} | {result} |"
        for (container, result), names in found.items()
    ]
    text = INTRODUCTION.format(version=version) + "\n".join(rows) + "\n"
    (ROOT / "docs" / "audio.md").write_text(text)


if __name__ == "__main__":
    main()

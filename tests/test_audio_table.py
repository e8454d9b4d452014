"""docs/audio.md says what becomes of each container and codec; ffmpeg writes them."""

import re
import shutil
from pathlib import Path

import pytest

from composer.formats.audio import pyav
from tests.audio_sweep import READABLE, codecs, outcome

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg writes the clips")

PAGE = Path(__file__).parents[1] / "docs" / "audio.md"
ROWS = re.findall(r"^\| (\w+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.M)[1:]
TABLE = {
    (container, codec): result for container, names, result in ROWS for codec in names.split(", ")
}
FEW = [
    ("wav", "pcm_s16le"),
    ("wav", "adpcm_ms"),
    ("wav", "g726"),
    ("wav", "libmp3lame"),
    ("rf64", "pcm_s24le"),
    ("aiff", "pcm_s16be"),
    ("flac", "flac"),
    ("ogg", "libvorbis"),
    ("ogg", "libspeex"),
    ("oga", "flac"),
    ("opus", "libopus"),
    ("mp3", "libmp3lame"),
    ("mp2", "mp2"),
    ("mov", "its own"),
]


def test_no_clip_is_read_in_part():
    assert len(TABLE) > 120
    assert not [key for key, result in TABLE.items() if result.startswith("WRONG")]


def test_what_is_refused_is_refused_for_what_it_is():
    """No file that ffmpeg wrote whole is called damaged or truncated."""
    wrong = ("damaged", "truncated", "empty")
    assert [key for key, result in TABLE.items() if any(map(result.count, wrong))] == []
    found = [key for key, result in TABLE.items() if result.startswith("unknown")]
    assert [key for key in found if key[0] in READABLE] == []


@pytest.mark.parametrize("case", FEW, ids="-".join)
def test_the_table_is_fresh(case):
    if case == ("mov", "its own") and not pyav.is_installed():
        pytest.skip("PyAV is an extra")
    assert outcome(*case) == TABLE[case]


@pytest.mark.slow
@pytest.mark.parametrize("container", READABLE)
def test_the_table_is_fresh_for_every_codec(container):
    for codec in codecs(container):
        assert outcome(container, codec) == TABLE.get((container, codec))

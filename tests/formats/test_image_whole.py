"""A file that was cut off is no picture, in whatever format and wherever it ends."""

import io
import struct

import numpy as np
import pytest

from composer.core.errors import ComposerError
from composer.formats.image import jpeg_scans
from composer.formats.image.jpeg_scans import require_all_scans
from composer.formats.image.reading import read_picture

Image = pytest.importorskip("PIL.Image")
ROWS, COLUMNS = np.mgrid[0:97, 0:132]  # no padding in the rows of a BMP
SMOOTH = np.stack([COLUMNS, ROWS, ROWS + COLUMNS], 2).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, SMOOTH.shape, np.uint8)
PICTURES = {"smooth": SMOOTH, "noise": NOISE, "flat": np.full_like(SMOOTH, 128)}
RESTARTS = {"restart_marker_blocks": 4}
FORMATS = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "jpeg, restarts": ("JPEG", RESTARTS),
    "jpeg, progressive": ("JPEG", {"progressive": True}),
    "jpeg, progressive, restarts": ("JPEG", {"progressive": True, **RESTARTS}),
    "webp": ("WEBP", {}),
    "webp, lossless": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {"interlace": 0}),
    "gif, interlaced": ("GIF", {"interlace": 1}),
    "bmp": ("BMP", {}),
}
END = {"JPEG": b"\xff\xd9", "GIF": b"\0;"}


def encoded(pixels, kind, options):
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image.convert("P") if kind == "GIF" else image).save(file, kind, **options)
    return file.getvalue()


def refused(data):
    with pytest.raises(ComposerError) as caught:
        read_picture(data)
    (problem,) = caught.value.problems
    assert problem.code in ("R591", "R592")
    return problem.message


@pytest.mark.parametrize("pixels", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize(("kind", "options"), FORMATS.values(), ids=FORMATS)
def test_a_file_that_was_cut_off(kind, options, pixels):
    """Every twentieth of the file and its last bytes, also with the format's own end behind it."""
    data = encoded(pixels, kind, options)
    assert read_picture(data).height == 97
    sizes = {len(data) * part // 20 for part in range(1, 20)} | {len(data) - n for n in (1, 2, 3)}
    for size in sizes:
        refused(data[:size])
        if size < len(data) - 3:
            refused(data[:size] + END.get(kind, b""))


@pytest.mark.parametrize("pixels", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("restarts", [{}, RESTARTS])
def test_a_progressive_jpeg_that_ends_between_scans(pixels, restarts):
    data = encoded(pixels, "JPEG", {"progressive": True, **restarts})
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(starts) == 10
    for at in starts[1:]:
        found = refused(data[:at] + b"\xff\xd9")
        assert found.startswith("the picture is damaged: scans are missing: ")
        assert found.endswith(" of 3 components are not whole")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_a_part_between_restarts(progressive):
    data = encoded(SMOOTH, "JPEG", {"progressive": progressive, **RESTARTS})
    marks = [at for at in range(len(data)) if data[at] == 255 and 0xD0 <= data[at + 1] <= 0xD7]
    cut = data[: marks[-3]] + b"\xff\xd9"
    assert "parts" in refused(cut)
    inside = data[: marks[2]] + data[marks[3] :]  # the others are still behind it
    assert "the picture is damaged: its scan 1 has " in refused(inside)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("restarts", [{}, RESTARTS, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_whole_jpeg_is_read(mode, subsampling, optimize, restarts, progressive):
    options = {"subsampling": subsampling, "optimize": optimize, "progressive": progressive}
    image, file = Image.fromarray(NOISE).convert(mode), io.BytesIO()
    image.save(file, "JPEG", **options, **restarts)
    data = file.getvalue()
    assert require_all_scans(data) == len(data) - 2
    assert read_picture(data + b"trailing").width == 132


def test_scans_are_bounded(monkeypatch):
    """Each is decoded into the whole picture: a small file could take minutes."""
    monkeypatch.setattr(jpeg_scans, "MOST_SCANS", 9)
    data = encoded(SMOOTH, "JPEG", {"progressive": True})
    assert refused(data) == "the picture is damaged: it has more than 9 scans"


def test_a_scan_of_no_component_of_the_frame():
    data = bytearray(encoded(SMOOTH, "JPEG", {}))
    at = data.index(b"\xff\xda")
    data[at + 5] = 9
    assert "a scan is of components that its frame has not" in refused(bytes(data))
    data[at + 2 : at + 5] = struct.pack(">HB", 200, 90)
    assert "the picture is damaged" in refused(bytes(data))

"""Pictures are read whole, upright and as 8-bit RGB, or refused for what they are."""

import io
import struct
import zlib

import numpy as np
import pytest

from composer.core.errors import ComposerError
from composer.formats.image import pillow as library
from composer.formats.image.header import read_header
from composer.formats.image.reading import read_picture

Image = pytest.importorskip("PIL.Image")
PIXELS = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
ALPHA = np.random.default_rng(2).integers(0, 256, (24, 32), np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, bits=8, colour=2, data=b""):
    """Write a PNG by hand, with true checksums."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


RGB = Image.fromarray(PIXELS)
KINDS = [
    ("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}),
    ("JPEG", {"quality": 100, "subsampling": 0}),
]  # fmt: skip


def refusal(source):
    with pytest.raises(ComposerError) as caught:
        read_picture(source)
    return str(caught.value)


def test_whatever_a_library_raises_is_a_located_error(monkeypatch):
    class Odd(Exception):
        pass

    def refuse(*_, **__):
        raise Odd("a reader of its own")

    monkeypatch.setattr(Image, "open", refuse)
    assert refusal(encoded(RGB, "BMP")) == (
        "<bytes>: R592 the picture is damaged: a reader of its own"
    )


def test_a_jpeg_that_no_reader_takes_is_damaged():
    """Here Pillow went on to another reader, which there was not: a KeyError."""
    data = encoded(RGB, "JPEG")
    at = data.index(b"\xff\xda")
    assert "R592 the picture is damaged" in refusal(data[:2] + data[at:])


def test_a_frame_that_is_larger_than_its_screen_is_damaged():
    """Pillow takes the frame's size, beyond its own limit."""
    data = bytearray(encoded(RGB, "GIF"))
    at = data.index(b",\0\0\0\0")
    data[at + 5 : at + 9] = b"\xff" * 4
    assert "R592 the picture is damaged" in refusal(bytes(data))


def test_a_bitmap_of_a_negative_width_is_damaged():
    data = bytearray(encoded(RGB, "BMP"))
    data[18:22] = b"\xff" * 4
    assert "R592 the picture is damaged: it is -1 pixels wide" in refusal(bytes(data))


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_what_is_read(kind, options, tmp_path):
    data = encoded(RGB, kind, **options)
    path = tmp_path / "a"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        picture = read_picture(source)
        assert picture.pixels.dtype == np.uint8
        assert (picture.height, picture.width) == (24, 32)
        assert picture.alpha is None
        off = np.abs(picture.pixels.astype(int) - PIXELS).max()
        assert off == 0 if kind != "JPEG" else off < 8
        assert not picture.pixels.flags.writeable


@pytest.mark.parametrize(("kind", "options"), [*KINDS, ("GIF", {}), ("WEBP", {"quality": 50})])
def test_headers_say_what_pillow_says(kind, options):
    for image in (
        RGB,
        Image.fromarray(PIXELS[:7, :5]),
        Image.fromarray(np.dstack([PIXELS, ALPHA])),
    ):
        if image.mode == "RGBA" and kind == "JPEG":
            continue
        header = read_header(encoded(image, kind, **options))
        assert (header.width, header.height) == image.size


def test_grey_palettes_and_bilevel():
    grey = PIXELS[:, :, 0]
    assert np.array_equal(
        read_picture(encoded(Image.fromarray(grey), "PNG")).pixels, np.dstack([grey] * 3)
    )
    palette = RGB.quantize(64)
    assert np.array_equal(
        read_picture(encoded(palette, "PNG")).pixels, np.asarray(palette.convert("RGB"))
    )
    one = Image.fromarray(grey > 99)
    assert np.array_equal(
        read_picture(encoded(one, "PNG")).pixels[:, :, 1], np.where(grey > 99, 255, 0)
    )


def test_transparency_is_kept_beside_the_colours():
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        image = Image.fromarray(np.dstack([PIXELS, ALPHA]))
        picture = read_picture(encoded(image, kind, **options))
        assert np.array_equal(picture.alpha, ALPHA)
        assert np.array_equal(picture.pixels, PIXELS)
    opaque = Image.fromarray(np.dstack([PIXELS, np.full_like(ALPHA, 255)]))
    assert read_picture(encoded(opaque, "PNG")).alpha is None
    one = Image.fromarray(np.uint8([[0, 1], [1, 0]]), "L").convert("P")
    assert read_picture(encoded(one, "PNG", transparency=0)).alpha.tolist() == [[0, 255], [255, 0]]
    keyed = read_picture(encoded(RGB, "PNG", transparency=tuple(map(int, PIXELS[3, 4]))))
    assert keyed.alpha[3, 4] == 0
    assert keyed.alpha.min(initial=255, where=(PIXELS[3, 4] != PIXELS).any(2)) == 255


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda x: x), (2, lambda x: x[:, ::-1]), (3, lambda x: x[::-1, ::-1]),
        (4, lambda x: x[::-1]), (5, lambda x: x.transpose(1, 0, 2)),
        (6, lambda x: np.rot90(x, -1)), (7, lambda x: x[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda x: np.rot90(x)),
    ],
)  # fmt: skip
def test_pictures_are_turned_upright(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(RGB, "PNG", exif=exif)
    assert np.array_equal(read_picture(data).pixels, turn(PIXELS))
    assert np.array_equal(read_picture(Image.open(io.BytesIO(data))).pixels, turn(PIXELS))


def test_arrays_and_images_of_pillow():
    assert np.array_equal(read_picture(PIXELS).pixels, PIXELS)
    assert read_picture(PIXELS[:, :, 0]).pixels.shape == (24, 32, 3)
    assert np.array_equal(read_picture(np.dstack([PIXELS, ALPHA])).alpha, ALPHA)
    assert np.array_equal(read_picture(RGB).pixels, PIXELS)
    picture = read_picture(RGB)
    assert read_picture(picture) is picture
    mine = PIXELS.copy()
    read_picture(mine)
    mine[0] = 0  # the caller's own array stays his to write to


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (PIXELS / 255, "an array of float64 [24, 32, 3] is no picture"),
        (PIXELS.astype(np.int64), "an array of int64 [24, 32, 3] is no picture"),
        (PIXELS.transpose(2, 0, 1), "an array of uint8 [3, 24, 32] is no picture"),
        (PIXELS[:, :, :2], "an array of uint8 [24, 32, 2] is no picture"),
        (3, "int is no picture"),
        (b"", "this is no readable picture: its format is none that is known"),
        (b"II*\0 and more", "this is no readable picture: its format is TIFF"),
        (b"\0\0\0\x18ftypheic", "this is no readable picture: its format is HEIC"),
        (b"\0\0\0\x18ftypavif", "this is no readable picture: its format is AVIF"),
        (b"<svg xmlns=", "this is no readable picture: its format is SVG"),
        ("missing.png", "the picture cannot be opened: No such file or directory"),
        ("/dev/null", "the picture is not a regular file"),
        ("a\0b", "the picture cannot be opened: "),
    ],
)
def test_what_is_no_picture(source, message):
    assert f": R591 {message}" in refusal(source)


@pytest.mark.parametrize(("kind", "options"), [*KINDS, ("GIF", {}), ("WEBP", {"quality": 60}),
                                               ("JPEG", {"progressive": True})])  # fmt: skip
def test_a_truncated_file_is_damaged(kind, options):
    data = encoded(Image.fromarray(np.tile(PIXELS, (4, 4, 1))), kind, **options)
    # What is beyond the last pixel (an end marker, a checksum) may be missing.
    for size in {10, 20, 30, 60, *range(100, len(data) - 40, len(data) // 23)}:
        assert ": R59" in refusal(data[:size]), size
        assert ": R592 the picture is damaged" in refusal(data[: max(size, 30)])


def test_a_flipped_bit_in_a_png_is_found():
    data = bytearray(encoded(RGB, "PNG"))
    data[len(data) // 2] ^= 1
    assert ": R592 the picture is damaged" in refusal(bytes(data))


@pytest.mark.parametrize(
    ("width", "height"), [(65_000, 65_000), (2**31 - 1, 1), (1, 70_000), (10_000, 8_001)]
)
def test_a_bomb_is_refused_before_it_is_decoded(width, height, monkeypatch):
    monkeypatch.setattr("composer.formats.image.reading.pillow", None)
    assert f": R593 the picture is {width} x {height} pixels" in refusal(png(width, height))


def test_bombs_of_other_containers(monkeypatch):
    monkeypatch.setattr("composer.formats.image.reading.pillow", None)
    bmp = bytearray(encoded(RGB, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, -60_000)
    gif = bytearray(encoded(RGB, "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    webp = bytearray(encoded(RGB, "WEBP", lossless=True))
    webp[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    jpeg = bytearray(encoded(RGB, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    for data in (bmp, gif, webp, jpeg):
        assert ": R593 the picture is " in refusal(bytes(data))


def test_a_size_that_the_pixels_do_not_have():
    row = b"\0" + bytes(3 * 32)
    assert read_picture(png(32, 24, data=row * 24)).height == 24
    assert ": R592 the picture is damaged" in refusal(png(32, 25, data=row * 24))
    assert ": R592 the picture is damaged" in refusal(png(33, 24, data=row * 24))
    assert ": R592 the picture is 0 x 24 pixels" in refusal(png(0, 24))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100}])
@pytest.mark.parametrize("smooth", [False, True])
def test_a_jpeg_that_ends_too_early_by_its_own_marks(smooth, options):
    pixels = np.tile(PIXELS, (4, 4, 1))
    if smooth:
        pixels = np.asarray(RGB.resize((128, 96)))
    data = encoded(Image.fromarray(pixels), "JPEG", **options)
    assert read_picture(data).height == 96
    cut = data[: len(data) * 4 // 5] + b"\xff\xd9"
    assert ": R592 the picture is damaged" in refusal(cut)
    taller = bytearray(data)
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    taller[at + 5 : at + 7] = struct.pack(">H", 140)
    assert ": R592 the picture is damaged" in refusal(bytes(taller))


def test_the_passes_of_an_interlaced_png_are_counted():
    # Pillow writes none: of Adam7's seven passes over 2 x 3 pixels four have any.
    passes = [(1, 1), (1, 1), (1, 2), (2, 1)]
    rows = b"".join((b"\0" + bytes([9]) * 3 * columns) * count for columns, count in passes)

    def interlaced(data):
        made = bytearray(png(2, 3, data=data))
        made[28] = 1
        made[29:33] = struct.pack(">I", zlib.crc32(made[12:29]))
        return bytes(made)

    assert (read_picture(interlaced(rows)).pixels == 9).all()
    assert ": R592 the picture is damaged: its rows have" in refusal(interlaced(rows[:-8]))


def test_what_is_not_8_bit_rgb():
    wide = png(2, 1, bits=16, data=b"\0" + bytes(12))
    assert ": R594 the picture has 16 bits a channel\n    hint: convert it to 8-bit RGB" in refusal(
        wide
    )
    deep = Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 256)
    assert ": R594 the picture has 16 bits a channel" in refusal(encoded(deep, "PNG"))
    assert ": R594 the picture is in Pillow's mode I;16" in refusal(deep)
    assert ": R594 the picture is in Pillow's mode F" in refusal(
        Image.fromarray(PIXELS[:, :, 0].astype(np.float32))
    )
    inks = encoded(RGB.convert("CMYK"), "JPEG")
    assert ": R594 the picture is in Pillow's mode CMYK" in refusal(inks)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_films_are_no_pictures(kind):
    frames = [Image.fromarray(PIXELS[::step]) for step in (1, -1)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert ": R594 the file has 2 pictures" in refusal(data)


def test_a_file_of_a_camera_with_two_pictures():
    data = encoded(RGB, "MPO", save_all=True, append_images=[RGB], quality=100)
    assert read_picture(data).pixels.shape == (24, 32, 3)


def test_without_pillow(monkeypatch):
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    assert read_picture(PIXELS).width == 32
    assert refusal(encoded(RGB, "PNG")) == (
        "R595 pictures need Pillow, which is not here\n"
        "    hint: pip install 'bundle-composer[image]'"
    )

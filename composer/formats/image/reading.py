"""Read the `image` input strictly: from a file, its bytes, an array or an image of Pillow."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import Any

import numpy as np

from composer.core.errors import ComposerError
from composer.formats.image.header import READABLE, Header, describe, read_header
from composer.formats.image.image_problems import MAX_BYTES, check_size, picture_error
from composer.formats.image.jpeg_scans import require_all_scans
from composer.formats.image.picture import Picture
from composer.formats.image.pillow import pillow
from composer.formats.image.truncation import (
    require_whole_gif,
    require_whole_png,
    with_bytes_inserted,
)

CONVERT = "convert it to 8-bit RGB: magick INPUT -colorspace sRGB -depth 8 picture.png"
FORMATS = {"WebP": "WEBP"}  # by other names than ours
OPAQUE = ("RGB", "L", "1")
WITH_ALPHA = ("RGBA", "LA", "PA")


def read_picture(source: Any) -> Picture:
    """Read PNG, JPEG, WebP, GIF or BMP; or take uint8 pixels, or an image of Pillow.

    Raise ComposerError R591-R595 for what is no single, whole picture of 8-bit RGB or grey. Its
    size is compared with the limits before anything is decoded. A picture is turned upright as its
    EXIF orientation says. Arrays are [H, W], [H, W, 3] or [H, W, 4].
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, bytes):
        return _decoded(source, "<bytes>")
    if isinstance(source, str | Path):
        return _decoded(_bytes_of(Path(source)), str(source))
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if type(source).__module__.partition(".")[0] == "PIL" and hasattr(source, "getexif"):
        width, height = source.size
        check_size(width, height, "<image>")
        return _picture(source, "<image>")
    hint = "give a path, the bytes of a file, an array of uint8 or an image of Pillow"
    raise picture_error("R591", "<image>", f"{type(source).__name__} is no picture", hint)


def _bytes_of(path: Path) -> bytes:
    name = str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise picture_error("R591", name, "the picture is not a regular file")
        if status.st_size > MAX_BYTES:
            found = f"the file has {status.st_size} bytes"
            raise picture_error("R593", name, found, f"the limit is {MAX_BYTES}")
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise picture_error("R591", name, f"the picture cannot be opened: {reason}") from error


def _decoded(data: bytes, name: str) -> Picture:
    try:
        header = read_header(data)
    except ValueError as error:
        raise picture_error("R592", name, f"the picture is damaged: {error}") from None
    if header is None:
        what = describe(data)
        found = f"this is no readable picture: its format is {what}"
        hint = f"readable are {', '.join(READABLE)}; convert others: magick INPUT picture.png"
        raise picture_error("R591", name, found, hint)
    check_size(header.width, header.height, name)
    if header.bits > 8:
        found = f"the picture has {header.bits} bits a channel"
        raise picture_error("R594", name, found, CONVERT)
    library = pillow()
    try:
        _require_whole(library, data, header)
        image = _open(library, data, header)
        if image.size != (header.width, header.height):
            found = f"{image.width} x {image.height} pixels where its header says {header.width} x "
            raise ValueError(f"{found}{header.height}")
        return _picture(image, name)
    except ComposerError:
        raise
    except Exception as error:  # what Pillow raises for damaged files is of many types
        what = str(error) or type(error).__name__
        if isinstance(error, KeyError | IndexError):
            what = "a part of it is missing"
        raise picture_error("R592", name, f"the picture is damaged: {what}") from error


def _require_whole(library: Any, data: bytes, header: Header) -> None:
    """Raise an error for missing pixels that decoders fill up, and for a false checksum."""
    if header.container == "PNG":
        _open(library, data, header).verify()
        require_whole_png(data)
    elif header.container == "GIF":
        require_whole_gif(data)
    elif header.container == "JPEG":
        filled = with_bytes_inserted(data, require_all_scans(data))
        one, other = (_open(library, each, header) for each in (data, filled))
        if not np.array_equal(np.asarray(one), np.asarray(other)):
            raise ValueError("it ends before all of its pixels are there")


def _open(library: Any, data: bytes, header: Header) -> Any:
    """Open a file by the one reader that its first bytes ask for."""
    formats = [FORMATS.get(header.container, header.container)]
    return library.open(io.BytesIO(data), formats=formats)


def _picture(image: Any, name: str) -> Picture:
    """Decode, turn upright, and return 8-bit RGB; raise ComposerError for another kind."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # of a camera's MPO the first is the picture
        raise picture_error(
            "R594", name, f"the file has {frames} pictures", "give one: a single frame"
        )
    image.load()
    mode = image.mode
    if mode == "P":
        mode = "PA" if "transparency" in image.info else "RGB"
    if mode in OPAQUE and "transparency" in image.info:
        mode = "RGBA"
    if mode not in OPAQUE + WITH_ALPHA:
        raise picture_error("R594", name, f"the picture is in Pillow's mode {mode}", CONVERT)
    image = pillow("ImageOps").exif_transpose(image)
    if mode in OPAQUE:
        return Picture(_read_only(np.asarray(image.convert("RGB"))), name)
    return _with_alpha(np.asarray(image.convert("RGBA")), name)


def _from_array(array: np.ndarray) -> Picture:
    name = "<array>"
    shape = list(array.shape)
    flat = array.ndim == 2
    if array.dtype != np.uint8 or not (flat or (array.ndim == 3 and shape[2] in (3, 4))):
        found = f"an array of {array.dtype} {shape} is no picture"
        raise picture_error(
            "R591", name, found, "give uint8 [H, W], [H, W, 3] or [H, W, 4], 0 to 255"
        )
    check_size(shape[1], shape[0], name)
    if flat:
        return Picture(_read_only(np.repeat(array[:, :, None], 3, 2)), name)
    return _with_alpha(array, name)


def _with_alpha(pixels: np.ndarray, name: str) -> Picture:
    colours = _read_only(np.ascontiguousarray(pixels[:, :, :3]))
    if pixels.shape[2] == 3 or pixels[:, :, 3].min() == 255:
        return Picture(colours, name)
    return Picture(colours, name, _read_only(np.ascontiguousarray(pixels[:, :, 3])))


def _read_only(pixels: np.ndarray) -> np.ndarray:
    """Return the same pixels as an array that nobody can write to."""
    pixels = pixels.copy() if pixels.flags.writeable else pixels
    pixels.flags.writeable = False
    return pixels

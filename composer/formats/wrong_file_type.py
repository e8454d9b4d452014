"""Recognize files that are not what their name says."""

from __future__ import annotations

from composer.core.location import Location
from composer.formats.file_problems import refuse

POINTER = b"version https://git-lfs.github.com/spec/"
MAGIC = {
    b"PK\x03\x04": "a zip archive, as torch.save and numpy.savez write",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}


def refuse_wrong_type(location: Location, head: bytes, expected: str) -> None:
    """Refuse an LFS pointer, a web page, a pickle or an archive by its first bytes."""
    if not head:
        refuse(location, "S407", f"is empty; expected {expected}", hint="download it again")
    if head.startswith(POINTER):
        refuse(
            location,
            "S404",
            f"is a Git LFS pointer, not {expected}",
            hint="run `git lfs pull` in the repository, or fetch the file from the Hub",
        )
    if (
        head.lstrip(b"\xef\xbb\xbf \t\r\n")[:9]
        .lower()
        .startswith((b"<!doctype", b"<html", b"<?xml"))
    ):
        refuse(
            location,
            "S405",
            f"is a web page, not {expected}",
            hint="a login or an error page was saved in its place; download it again",
        )
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            refuse(
                location,
                "S406",
                f"is {name}, not {expected}",
                hint="such files are never loaded; convert it to safetensors if you trust it",
            )

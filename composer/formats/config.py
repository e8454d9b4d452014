"""Read config.json and drop the keys that could run code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from composer.core.errors import ComposerError, Place, Problem, errors_of
from composer.core.location import Location
from composer.formats.file_problems import refuse, show
from composer.formats.files import Files, LocalFiles
from composer.formats.strictjson import parse_object
from composer.formats.wrong_file_type import refuse_wrong_type

SIZE = 4_000_000
LARGEST = (2 - 2**-23) * 2.0**127  # of float32: what is beyond becomes infinite
IGNORED = {
    "auto_map": "names Python classes of the repository",
    "trust_remote_code": "runs Python code of the repository",
    "_attn_implementation_internal": "can name a kernel to download and run",
}


def read_config(
    location: Location,
    files: Files | None = None,
    warn: Callable[[Problem], None] | None = None,
) -> dict[str, Any]:
    """Return a JSON object without its dangerous keys, and report each dropped key to `warn`.

    A folder means the config.json in it.
    """
    files = files or LocalFiles()
    if files.kind(location) == "folder":
        location = location / "config.json"
    with files.open(location) as ranges:
        if ranges.size > SIZE:
            refuse(location, "S408", f"has {ranges.size} bytes; the limit is {SIZE}")
        data = ranges.read(0, ranges.size)
    refuse_wrong_type(location, data[:512], "a JSON file")
    config = parse_object(location, data, most=LARGEST)
    problems = [*unsafe_keys(config, location), *unread_quantization(config, location)]
    errors = errors_of(problems)
    if errors:
        raise ComposerError(errors)
    for problem in problems:
        if warn:
            warn(problem)
    clean: dict[str, Any] = _drop_ignored(config)
    return clean


def unsafe_keys(
    config: Mapping[str, Any], location: Location, prefix: str = ""
) -> tuple[Problem, ...]:
    """List the keys, at any depth, that make a loader run code."""
    found: list[Problem] = []
    place = Place(str(location))
    for key, value in config.items():
        path = f"{prefix}.{key}" if prefix else key
        if key == "model_file" and value is not None:
            found.append(
                Problem(
                    "S470",
                    f"{show(path)} runs {show(str(value))}, Python code of the repository",
                    place,
                    hint="use a component that knows this architecture, or install one as a "
                    "plug-in; then remove model_file",
                )
            )
        elif key in IGNORED and value not in (None, False, "eager", "sdpa"):
            found.append(
                Problem("S471", f"{show(path)} {IGNORED[key]}; ignored", place, severity="warning")
            )
        inside = value if isinstance(value, list) else [value]
        for inner in inside:
            if isinstance(inner, dict) and key not in IGNORED:
                found += unsafe_keys(inner, location, path)
    return tuple(found)


def unread_quantization(config: Mapping[str, Any], location: Location) -> Iterator[Problem]:
    """Warn of a `quantization_config` that differs from the `quantization` beside it.

    mlx-lm writes the same under both names, and reads the first.
    """
    own, other = config.get("quantization"), config.get("quantization_config")
    if not isinstance(own, dict) or other is None:
        return
    if not isinstance(other, dict) or {"mode": "affine", **own} != {"mode": "affine", **other}:
        yield Problem(
            "L347",
            "quantization_config differs from quantization, which alone is read",
            Place(str(location)),
            hint="remove the one that the weights are not packed by",
            severity="warning",
        )


def _drop_ignored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_ignored(inner) for key, inner in value.items() if key not in IGNORED}
    if isinstance(value, list):
        return list(map(_drop_ignored, value))
    return value

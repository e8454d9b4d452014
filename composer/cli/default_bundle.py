"""The bundle of a command that is given clips alone."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import typer

from composer.cli.flags import BundleFlags
from composer.cli.printing import print_note

EXAMPLES = ("mega-asr-mini", "elderwise-mini")  # they ship with their weights
HOW_TO_CHOOSE = f"composer use {EXAMPLES[0]} (or {EXAMPLES[1]}; composer list has more) chooses one"


def bundle_and_clips(bundle: BundleFlags, clips: list[str] | None) -> tuple[BundleFlags, list[str]]:
    """Return what is named; where the first name is a clip, the bundle is the chosen one."""
    from composer.sources.default_bundle import default_bundle

    clips = clips or []
    if not _is_speech(bundle.name):
        return bundle, clips
    chosen = default_bundle()
    if chosen is None:
        named = f"composer transcribe {EXAMPLES[0]} {bundle.name}"
        message = f"{bundle.name} is a clip: name a bundle before it, as in: {named}"
        raise typer.BadParameter(f"{message}; or for all times: {HOW_TO_CHOOSE}")
    if sys.stderr.isatty():
        print_note(f"{chosen}, by composer use")
    return replace(bundle, name=chosen), [bundle.name, *clips]


def _is_speech(name: str) -> bool:
    """Return whether a name is that of clips: a file, standard input, or a folder of them."""
    from composer.formats.audio.suffixes import SUFFIXES, is_clip
    from composer.manifest import FILES
    from composer.sources.checkpoint import CONFIG

    path = Path(name)
    if name == "-":
        return True
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES
    if any((path / file).exists() for file in (*FILES, CONFIG)):
        return False
    return any(map(is_clip, path.rglob("*")))

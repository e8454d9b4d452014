"""Measure what each precision of a bundle costs: the tables of docs/precision.md.

Each bundle is quantized in each recipe: rounded to the nearest, calibrated on its graph, and
calibrated on plain text, the transcripts of the same clips. Of each edition there are the bytes of
all weights, the bits per weight of its decoder, the word error rate on held-out clips with its
interval, and the mean divergence of the answers' logits from those of the bundle as it is stored.
With `--encoders` it is not the decoder that is quantized, but its encoder and projector, or the
ONNX file that is its encoder.

    .venv/bin/python -m training.dump heldout --size 240
    scripts/bench precision heldout BUNDLE... --results precision.jsonl --write
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

import composer
from benchmarks.precision_page import (
    DECODERS,
    ENCODERS,
    IMAGES,
    MORE_CLIPS,
    PAGE,
    Edition,
    draw,
    table,
    write,
)
from composer.comparison.divergence import answers, divergence
from composer.core.calibration import Calibrated, Watched
from composer.jobs.calibration import METHODS
from composer.jobs.speech import speech_graph
from composer.manifest.recipes import recipes
from composer.runtime.bundle import Bundle
from composer.runtime.opening import BundleOptions

RECIPES = ("uniform-4", "ple-safe-4bit", "mixed-8-4", "uniform-8", "ple-safe-8bit", "int8")
OTHERS = ("mixed-6-4", "ple-safe-6bit", "uniform-6", "mixed-8-6", "mxfp4", "nvfp4", "mxfp8")
FEW_BITS = RECIPES[:3]  # of which rounding costs enough to calibrate it
EVERY_WAY = "ple-safe-4bit"  # which is packed by every method
NEAREST, STORED = "nearest", "as stored"
DECODER = "decoder"
CLIPS_ALONE = ("gptq on the graph", "awq on the graph")  # which an encoder can see
COMPARED = NEAREST, "gptq on the graph", "dwq on the graph"  # where more clips calibrate
OF_ENCODERS = ("uniform-4", "uniform-6", "uniform-8")
OF_FILES = ("ple-safe-4bit", "int8", "int8-dynamic", "float16")  # which an ONNX file takes
MEASURED = 24  # clips on which the divergence is measured, of those that are short
LONG = "long"
WEIGHTS = (".safetensors", ".onnx")


def editions(
    bundle: Path, data: Path, more: Path | None, done: set[Any], of_encoders: bool
) -> Iterator[Edition]:
    """Yield a bundle as it is stored and in each recipe and rounding, but for what is done.

    With `more` clips other recipes are among them, and what these clips calibrate is compared with
    what the bundle's own do.
    """
    with TemporaryDirectory() as scratch:
        methods = dict(calibrated(bundle, Path(scratch), bundle / "clips"))
        if more:
            methods |= dict(calibrated(bundle, Path(scratch), more))
            methods = {key: each for key, each in methods.items() if key.startswith(COMPARED)}
        clips = [str(path) for path in sorted(data.glob("*.wav")) if LONG not in path.name]
        with BundleOptions(bundle).open() as plain:
            graph = speech_graph(plain, None)
            runs = [{"audio": clip} for clip in clips[:: len(clips) // MEASURED]]
            reference = answers(plain, graph.task, runs)
            files = exported(plain)
            components = (encoders(plain) or files) if of_encoders else [DECODER]
            count = sum(weights_of(plain, name)[1] for name in components)
        wanted = [(STORED, STORED, None), *packings(methods, of_encoders)]
        if more:
            wanted = [each for each in wanted if each[0] in (STORED, *FEW_BITS)]
            wanted += [(each, NEAREST, None) for each in OTHERS]
            wanted.sort(key=lambda each: each[1] not in (STORED, NEAREST))
        if components == files:
            wanted = [(STORED, STORED, None), *((each, NEAREST, None) for each in OF_FILES)]
        for recipe, rounded, calibration in wanted:
            if (bundle.name, recipe, rounded) in done:
                continue
            made = bundle
            if recipe != STORED:
                made = Path(scratch) / "edition"
                shutil.rmtree(made, ignore_errors=True)
                asked = dict.fromkeys(components, recipe)
                if recipe == "int8":
                    asked |= dict.fromkeys(files, recipe)
                composer.quantize(bundle, made, precision=asked, calibration=calibration)
            with BundleOptions(made).open() as opened:
                far = divergence(opened, graph.task, runs, reference)
                size = sum(nbytes(weights_of(opened, name)[0]) for name in components)
            found = composer.evaluate(made, data, task=graph.task)
            assert found.wer is not None
            assert found.words.rate is not None
            rates = found.words.rate, found.wer.low, found.wer.high
            name = bundle.name
            yield Edition(name, recipe, rounded, nbytes(made), 8 * size / count, *rates, far)


def packings(methods: dict[str, Any], of_encoders: bool) -> Iterator[tuple[str, str, Any]]:
    """Yield recipes and ways of rounding, with what each is calibrated on."""
    for recipe in OF_ENCODERS if of_encoders else RECIPES:
        for rounded, given in methods.items():
            usual = recipe in FEW_BITS and "gptq" in rounded
            wanted = usual or recipe == EVERY_WAY
            if of_encoders:
                wanted = recipe == OF_ENCODERS[0] and rounded in CLIPS_ALONE
            if rounded == NEAREST or wanted:
                yield recipe, rounded, given


def encoders(bundle: Bundle) -> list[str]:
    """Return the components that can be watched and are no decoders."""
    found = []
    for name, known in bundle.checked.components.items():
        if issubclass(known.cls, Watched) and not issubclass(known.cls, Calibrated):
            found.append(name)
    return found


def exported(bundle: Bundle) -> list[str]:
    """Return the components that are ONNX files."""
    found = bundle.checked.components.items()
    return [name for name, known in found if known.cls.name == "onnx.graph"]


def nbytes(bundle: Path) -> int:
    """Return the bytes of the files of a bundle's weights; of a file its own."""
    files = [path for path in (bundle, *bundle.rglob("*")) if path.suffix in WEIGHTS]
    return sum(path.stat().st_size for path in files)


def weights_of(bundle: Bundle, name: str) -> tuple[Path, int]:
    """Return the file or folder of a component's weights, and how many numbers it holds."""
    known = bundle.checked.components[name]
    assert known.facts
    assert known.spec.weights
    assert known.spec.weights.path
    path = known.spec.weights.path
    if path.suffix == ".onnx":
        return path, sum(prod(each.dims) for each in onnx.load(path).graph.initializer)
    return path, sum(group.numbers for group in known.facts.weights)


def calibrated(bundle: Path, scratch: Path, clips: Path) -> Iterator[tuple[str, Any]]:
    """Yield ways of rounding: to the nearest, and by what is seen on the graph or on text."""
    yield NEAREST, None
    found = sorted(path for path in clips.iterdir() if path.suffix in (".flac", ".wav"))
    with BundleOptions(bundle).open() as opened:
        task = speech_graph(opened, None).task
    text = scratch / "transcripts.txt"
    (references,) = clips.glob("*.jsonl")
    rows = [json.loads(line) for line in references.read_text("utf-8").splitlines()]
    lines = [row.get("text") or row["transcription"] for row in rows]
    text.write_text("\n".join(lines), "utf-8")
    how_many = "" if clips.parent == bundle else f", {len(found)} clips"
    for method in METHODS:
        yield f"{method} on the graph{how_many}", composer.Calibration(found, method, task)
        yield f"{method} on text{how_many}", composer.Calibration([text], method, task)


def main(arguments: list[str]) -> None:
    """Measure what the results do not have yet, and print or write the table."""
    parser = argparse.ArgumentParser(
        "scripts/bench precision", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("data", type=Path, help="a folder of clips that `composer eval` reads")
    parser.add_argument("bundles", type=Path, nargs="+", help="bundles that are not quantized")
    parser.add_argument("--encoders", action="store_true", help="of encoder and projector instead")
    parser.add_argument("--clips", type=Path, help="calibrate the decoder on these too")
    parser.add_argument("--results", type=Path, default=Path("precision.jsonl"))
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    given = parser.parse_args(arguments)
    assert set(RECIPES) <= recipes().keys()
    lines = given.results.read_text("utf-8").splitlines() if given.results.exists() else []
    found = [Edition(**json.loads(line)) for line in lines]
    done: set[Any] = {(each.bundle, each.recipe, each.rounded) for each in found}
    for bundle in given.bundles:
        for each in editions(bundle, given.data, given.clips, done, given.encoders):
            found.append(each)
            with given.results.open("a", encoding="utf-8") as results:
                results.write(json.dumps(asdict(each)) + "\n")
            print(each, flush=True)
    picture = not (given.encoders or given.clips)
    text = table(found, given.encoders, picture)
    if given.write and (given.encoders or given.clips):
        write(text, ENCODERS if given.encoders else MORE_CLIPS)
    elif given.write:
        write(text, DECODERS)
        for bundle in {each.bundle for each in found}:
            (IMAGES / f"precision-{bundle}.svg").write_text(draw(bundle, found), "utf-8")
    else:
        print(text)

"""Bundles of one component, so that only the hostile file is wrong."""

import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

HEAD = "composer: 1\nname: hostile\nsources: {repo: ./}\n"

STACK = (
    HEAD
    + """components:
  projector: {use: mlx.stack, weights: repo/WEIGHTS, config: {layers: [linear]}}
inputs: {x: {type: tensor, port: f32 N 4}}
graph:
  y: {run: projector, with: {x: $x}}
outputs: {y: $y}
"""
)
ONNX = (
    HEAD
    + """components:
  encoder: {use: onnx.graph, weights: repo/onnx/m.onnx, config: {batch: none}}
inputs: {x: {type: tensor, port: f32 N 4}}
graph:
  y: {run: encoder, with: {x: $x}}
outputs: {y: $y}
"""
)
PROMPT = (
    HEAD
    + """components:
  prompt:
    use: text.prompt
    files: repo/tokenizer
    config: {template: "<|audio_pad|>{text}"}
inputs: {text: text}
graph:
  asked: {run: prompt, with: {text: $text}}
outputs: {ids: $asked.ids}
"""
)


def bundle(folder: Path, manifest: str, files: dict[str, bytes]) -> Path:
    """Write a manifest and the files beside it; return its folder."""
    for name, data in {"bundle.yaml": manifest.encode(), **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


MEASURE = """
import resource, sys
from composer.cli import main
import composer.checker, composer.runtime.run
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = main()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown * unit)
sys.exit(code)
"""


def measured(*arguments: object, limit: int | None = None) -> tuple[int, str, int]:
    """Run a command in a process of its own: exit code, stderr, and bytes that it grew by.

    `limit` is the most address space that it gets.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, arguments)],
        preexec_fn=partial(_limit, limit) if limit else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr, int(done.stdout.split()[-1])


def _limit(nbytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (nbytes, nbytes))

"""Write docs/checkpoints.md: what each key of each architecture's config does here.

It runs the sweep of tests/config_sweep.py, which takes some minutes: torch, MLX and ONNX Runtime.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.config_sweep import KINDS, WRAPPED, Case, cases, run  # noqa: E402

INTRODUCTION = """# Keys of a decoder's config.json

Written by `scripts/make_checkpoint_table.py`: every architecture that `mlx.lm` and `onnx.lm` take
and that transformers can build, four layers of random weights, each key at other values and each
key absent. `right` means the same ids as transformers continues a prompt with and logits within
0.1 % of the largest; `refused` that `composer check` names the key and its line. Nothing else
occurs, except that a key which contradicts the tensors is found when they are loaded (`tensors`).

A key that changes nothing (names, dropout, generation settings) is taken at any value. A key that
nothing reads is refused: W257. `config: {ignore: [key]}` at the component declares that it changes
nothing. Positions: a limit with scaling is the scaled one; `dynamic` stays at the trained limit.
"""


def main() -> None:
    """Run the sweep and write the page."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    parts = [INTRODUCTION]
    swept = {
        "mlx": [*KINDS, *WRAPPED],
        "onnx": ["gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"],
    }
    for backend, kinds in swept.items():
        for kind in kinds:
            heading = f"## `{backend}.lm`: {kind}\n\n| key | outcome |\n|---|---|\n"
            parts.append(heading + table(kind, backend))
    (ROOT / "docs" / "checkpoints.md").write_text("\n".join(parts))


def table(kind: str, backend: str) -> str:
    """Return a row for each change, those without effect in one."""
    rows, plain = [], []
    for case in cases(kind):
        what, detail = outcome(case, backend)
        if what == "not built":
            continue
        if case.drop and what == "right":
            plain.append(case.drop)
            continue
        rows.append(f"| {case.name.replace('|', ' ')} | {what}{detail} |")
    rows.append(f"| absent: {', '.join(plain)} | right |")
    return "\n".join(rows) + "\n"


def outcome(case: Case, backend: str) -> tuple[str, str]:
    """Return what became of a case, with the problem that it was refused for."""
    with TemporaryDirectory() as folder:
        found = run(case, Path(folder) / "lm", backend)
    if found.what == "LATE" and "R511" in found.detail:
        return "tensors", ""
    if found.what != "refused":
        return found.what, ""
    message = found.detail.partition("\n")[0].replace("|", " ")
    return "refused", ": " + re.sub(r"^config\.json[:\d]* ", "", message)


if __name__ == "__main__":
    main()

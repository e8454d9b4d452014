"""Write docs/checkpoints.md: what each key of each architecture's config does here.

It runs the sweep of tests/config_sweep.py, which takes some minutes for each architecture: torch,
MLX and ONNX Runtime. `scripts/make_checkpoint_table.py mlx.llama onnx.qwen3` remakes those two.
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

from tests.config_sweep import ALL, Case, cases, run  # noqa: E402

INTRODUCTION = """# Keys of a decoder's config.json

Written by `scripts/make_checkpoint_table.py`: every architecture that `mlx.lm` and `onnx.lm` take,
four layers of random weights, each key at other values, null and absent, and the scaling of
positions in the older spelling too. `right` means the same ids as transformers continues a prompt
with and logits within 0.1 % of the largest; `refused` that `composer check` names the key and its
line. Nothing else occurs, except that a key which contradicts the tensors is found at load
(`tensors`).

transformers has no `xverse` and no `telechat3`: both are its Llama by another name, and compared
with that. mlx-lm's `gear`, `plamo3`, `spark2_5` and `talkie` have nothing to be compared with, and
`muse_spark` rounds to bfloat16 between its layers, so that ids differ: these are refused (W240), as
is whatever a newer mlx-lm adds, until it stands here.

A key that changes nothing (names, dropout, generation settings) is taken at any value. A key that
nothing reads is refused: W257. `config: {ignore: [key]}` at the component declares that it changes
nothing. Positions: a limit with scaling is the scaled one; `dynamic` stays at the trained limit.
"""


PAGE = ROOT / "docs" / "checkpoints.md"
SWEPT: dict[str, tuple[str, ...]] = {
    "mlx": ALL,
    "onnx": ("gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"),
}


def main(chosen: list[str]) -> None:
    """Run the sweep of the chosen architectures, or of all, and write the page after each."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    tables = stored_tables()
    for backend, kinds in SWEPT.items():
        for kind in kinds:
            if chosen and f"{backend}.{kind}" not in chosen:
                continue
            heading = f"## `{backend}.lm`: {kind}\n"
            tables[heading] = f"\n| key | outcome |\n|---|---|\n{table(kind, backend)}"
            write(tables)


def stored_tables() -> dict[str, str]:
    """Return the page's tables by their headings."""
    parts = re.split(r"^(## .*\n)", PAGE.read_text(), flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {heading: text.rstrip("\n") + "\n" for heading, text in pairs}


def write(tables: dict[str, str]) -> None:
    """Write the page, its tables in the order of the sweep."""
    parts = [INTRODUCTION]
    for backend, kinds in SWEPT.items():
        for kind in kinds:
            heading = f"## `{backend}.lm`: {kind}\n"
            if heading in tables:
                parts.append(heading + tables[heading])
    PAGE.write_text("\n".join(parts))


def table(kind: str, backend: str) -> str:
    """Return a row for each change, those without effect in one."""
    rows, absent, null = [], [], []
    for case in cases(kind):
        what, detail = outcome(case, backend)
        if what == "not built":
            continue
        if case.drop and what == "right":
            absent.append(case.drop)
            continue
        if case.null and what == "right":
            null.append(case.null)
            continue
        rows.append(f"| {case.name.replace('|', ' ')} | {what}{detail} |")
    rows.append(f"| absent: {', '.join(absent)} | right |")
    rows.append(f"| null: {', '.join(null)} | right |")
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
    main(sys.argv[1:])

"""Arrows point one way: components -> composer, and inside composer from the edge to the core."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BACKENDS = {"mlx", "mlx_lm", "onnxruntime", "torch", "transformers", "librosa"}
HEAVY = BACKENDS | {"soundfile", "soxr", "tokenizers", "huggingface_hub", "safetensors", "scipy"}
LAYERS = (
    "composer.cli",
    "composer.bundle",
    "composer.loading",
    "composer.run",
    "composer.plan",
    "composer.checker",
    "composer.hub",
    "composer.manifest",
    "composer.headers",
    "composer.component",
    "composer.errors",
)


def modules(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path, *, top_only=False):
    """Yield every module that a file imports; with top_only, those imported when it is."""
    tree = ast.parse(path.read_text())
    nodes = _top(tree.body) if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def _top(body):
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                yield from _top(getattr(node, part, []))


@pytest.mark.parametrize("path", modules("composer"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_runtime_knows_no_backend_and_no_component(path):
    for module in imports(path):
        assert module.partition(".")[0] not in BACKENDS, f"{path} imports {module}"
        assert not module.startswith("composer.components"), f"{path} imports {module}"


@pytest.mark.parametrize(
    "path", modules("composer") + modules("components"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_nothing_heavy_is_imported_before_it_is_used(path):
    for module in imports(path, top_only=True):
        assert module.partition(".")[0] not in HEAVY, f"{path} imports {module}"


def rank(module):
    """Return which layer a module is of, from the edge to the core; None where it is of none."""
    return next((i for i, n in enumerate(LAYERS) if f"{module}.".startswith(f"{n}.")), None)


def test_arrows_point_one_way():
    for path in modules("composer"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for module in imports(path, top_only=True):
            if rank(name) is not None and rank(module) is not None:
                assert rank(module) >= rank(name), f"{name} imports {module}, which is above it"


def test_every_module_is_one_noun():
    longest = {str(p.relative_to(ROOT)): len(p.read_text().splitlines())
               for p in modules("composer") + modules("components")}  # fmt: skip
    assert {name: count for name, count in longest.items() if count > 400} == {}

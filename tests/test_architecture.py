"""Arrows point one way: every import, inside functions and for types too, and no circle."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BACKENDS = {"mlx", "mlx_lm", "onnxruntime", "torch", "transformers", "librosa"}
HEAVY = BACKENDS | {"soundfile", "soxr", "tokenizers", "huggingface_hub", "safetensors", "scipy"}
# Each level imports only from those above it and from itself; packages of a level not one another.
LEVELS = (
    {"core"},
    {"formats"},
    {"manifest"},
    {"sources"},
    {"graph"},
    {"checker"},
    {"generation"},
    {"runtime"},
    {"drawing"},
    {"evaluation", "comparison", "benchmark", "quantization", "publishing"},
    {"jobs"},
    {"cli", "server"},
)
COMPONENTS = (
    {"checkpoints"},
    {"models"},
    {"mlx", "onnx", "numpy", "audio", "image", "text"},
)
FOLDERS = ("composer", "components", "mirror", "training", "converters", "benchmarks", "tests")
LONGEST = 250
PENDING = {
    "composer.components.checkpoints.checkpoint",
    "composer.components.mlx.gemma4.component",
    "composer.evaluation.data",
    "composer.formats.audio",
    "composer.manifest.format",
    "composer.runtime.bundle",
    "composer.runtime.run",
    "composer.sources.hub.client",
}


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("composer", *parts) if parts[0] == "components" else parts
    return ".".join(parts).removesuffix(".__init__")


@cache
def modules():
    """Return every module of the project by its name."""
    return {name_of(path): path for folder in FOLDERS for path in files(folder)}


def imported(path, *, top_only=False):
    """Yield every module that a file imports; with top_only, those imported when it is."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    tree = ast.parse(path.read_text())
    for node in top(tree.body) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in modules() else source


def top(body):
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                yield from top(getattr(node, part, []))


@cache
def edges():
    """Return, for each module, those of the same tree that it imports anywhere."""
    found = {}
    for name, path in modules().items():
        root = name.split(".")[0]
        found[name] = {each for each in imported(path) if each.split(".")[0] == root} - {name}
    return found


def level(module):
    """Return a module's package and how far up the page its level stands."""
    parts = module.split(".")[1:]
    levels = LEVELS
    if parts and parts[0] == "components":
        parts, levels = parts[1:], COMPONENTS
    for number, packages in enumerate(levels):
        if parts and parts[0] in packages:
            return parts[0], number
    return None


@pytest.mark.parametrize("path", files("composer"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_runtime_knows_no_backend_and_no_component(path):
    for module in imported(path):
        assert module.partition(".")[0] not in BACKENDS, f"{path} imports {module}"
        assert not module.startswith("composer.components"), f"{path} imports {module}"


@pytest.mark.parametrize(
    "path", files("composer") + files("components"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_nothing_heavy_is_imported_before_it_is_used(path):
    for module in imported(path, top_only=True):
        assert module.partition(".")[0] not in HEAVY, f"{path} imports {module}"


def test_every_module_has_a_level():
    roots = {"composer", "composer.__main__", "composer.components"}
    own = {name for name in modules() if name.startswith("composer")}
    assert [name for name in own - roots if level(name) is None] == []


def test_arrows_point_one_way():
    wrong = []
    for name, targets in edges().items():
        for target in targets:
            assert target in modules(), f"{name} imports {target}, which is no module"
            if (
                not name.startswith("composer")
                or "composer" in (name, target)
                or level(name) is None
                or level(target) is None
            ):
                continue
            (package, own), (other, theirs) = level(name), level(target)
            inside = name.startswith("composer.components") == target.startswith(
                "composer.components"
            )
            if inside and package != other and theirs >= own:
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_there_is_no_circle():
    try:
        TopologicalSorter(edges()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_root_is_only_an_index():
    """Nothing of the project imports `composer` itself, whose names are for users."""
    roots = {name for name, targets in edges().items() if "composer" in targets}
    assert roots <= {"composer.__main__"}


def test_no_module_is_long_without_saying_why():
    for path in files("composer") + files("components"):
        name, text = name_of(path), path.read_text()
        docstring = ast.get_docstring(ast.parse(text)) or ""
        if len(text.splitlines()) > LONGEST and name not in PENDING:
            assert "long because" in docstring, f"{name} has {len(text.splitlines())} lines"

"""Arrows point one way: every import, inside functions and for types too, and no circle."""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from scripts.imports import ROOT, edges, files, imported, level, modules, name_of

BACKENDS = {"mlx", "mlx_lm", "onnxruntime", "torch", "transformers", "librosa"}
HEAVY = BACKENDS | {"soundfile", "soxr", "tokenizers", "huggingface_hub", "safetensors", "scipy"}
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

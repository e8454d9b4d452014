"""Arrows point one way: every import, inside functions and for types too, and no circle."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from scripts.imports import (
    COMPONENTS,
    LEVELS,
    ROOT,
    edges,
    files,
    imported,
    level,
    modules,
    name_of,
)

BACKENDS = {"mlx", "mlx_lm", "onnxruntime", "torch", "transformers", "librosa"}
HEAVY = BACKENDS | {"soundfile", "soxr", "tokenizers", "huggingface_hub", "safetensors", "scipy"}
FOR_COMPONENTS = {"components", "core", "formats", "generation"}
LONGEST = 250


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


def test_every_level_is_of_packages_that_exist():
    for folder, levels in (("composer", LEVELS), ("components", COMPONENTS)):
        for name in set().union(*levels):
            assert (ROOT / folder / name / "__init__.py").exists(), name


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


def test_components_import_only_what_the_page_says():
    wrong = []
    for name, targets in edges().items():
        if not name.startswith("composer.components"):
            continue
        for target in targets:
            package = target.removeprefix("composer.").partition(".")[0]
            if target.startswith("composer.") and package not in FOR_COMPONENTS:
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
        if len(text.splitlines()) > LONGEST:
            assert "long because" in docstring, f"{name} has {len(text.splitlines())} lines"


LIBRARIES = "mlx onnx onnxruntime ort cuda metal coreml torch tensorrt openvino directml"
A_BACKEND = re.compile(rf"(?<![a-z])({'|'.join(LIBRARIES.split())})(?![a-z])", re.I)
FILES_OF_A_FORMAT = {"composer/formats", "composer/sources/hub/files.py"}  # such as ONNX
# A variable has to be set before the library is imported, so before its backend is.
EARLY = {"composer/core/telemetry.py"}
REFERENCES = {"composer/comparison/reference_recorder.py"}  # it keeps what modules of torch give
# Names of published checkpoints.
QUOTED = {"gemma-4-e4b-mlx-elderwise-MERaLiON", "Reza2kn/mega-asr-mlx"}


def words_of(path):
    """Yield the identifiers and texts of a file's code, all but docstrings and comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                first.value.value = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        for field in ("id", "attr", "arg", "name", "module", "asname"):
            if isinstance(getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), getattr(node, field)


@pytest.mark.parametrize("path", files("composer"), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_name_of_a_backend_stands_in_the_core(path):
    """A backend is known by what it reports of itself, so that another needs no change here."""
    name = str(path.relative_to(ROOT))
    if name in EARLY | REFERENCES or any(
        f"{name}/".startswith(f"{each}/") for each in FILES_OF_A_FORMAT
    ):
        return
    for line, text in words_of(path):
        for quoted in QUOTED:
            text = text.replace(quoted, "")
        assert not A_BACKEND.search(text), f"{name}:{line}: {text}"


def test_a_name_of_a_backend_would_be_seen(tmp_path):
    for code in (
        "x = 'on mlx'",
        "import onnxruntime",
        "def to_cuda(): ...",
        "x.is_mlx",
        "f(mlx=1)",
    ):
        (tmp_path / "a.py").write_text(code)
        assert any(A_BACKEND.search(text) for _, text in words_of(tmp_path / "a.py")), code
    (tmp_path / "a.py").write_text("def f():\n    'The kind mlx.lm.'\n    # onnx\n")
    assert not any(A_BACKEND.search(text) for _, text in words_of(tmp_path / "a.py"))


def test_the_command_line_starts_without_what_only_verbs_need():
    program = "import sys, composer.cli.app; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {*HEAVY, "numpy", "pydantic", "yaml", "starlette", "uvicorn"} == set()


@pytest.mark.parametrize("path", files("composer") + files("components"), ids=name_of)
def test_no_conditional_stands_inside_another(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.IfExp):
            inner = {type(part) for part in (node.test, node.body, node.orelse)}
            assert ast.IfExp not in inner, f"{path}:{node.lineno}: write an if statement"
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            assert len(node.generators) < 3, f"{path}:{node.lineno}: write a loop"

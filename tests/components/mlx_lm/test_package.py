"""mlx-lm's models come without transformers and torch, and its package stays whole."""

import subprocess
import sys

import pytest

RUN = """
import sys
import composer

with composer.load("mega-asr-mini", backends={"decoder": "mlx"}) as bundle:
    clip = "bundles/mega-asr-mini/clips/digits-01.flac"
    assert bundle.run(audio=clip).text
    assert "mlx_lm.models.qwen3" in sys.modules
"""
GEMMA = """
import sys
import composer

with composer.load("elderwise-mini", backends={"decoder": "mlx"}) as bundle:
    assert "mlx_lm.models.gemma4_text" in sys.modules
"""
LISTED = "print(sorted({'torch', 'transformers', 'mlx_lm.utils'} & set(sys.modules)))"


def output(code):
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("code", [RUN, GEMMA])
def test_a_run_on_mlx_imports_neither_transformers_nor_torch(code):
    assert output(code + LISTED) == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        "import mlx_lm; assert mlx_lm.load and mlx_lm.__version__",
        "from mlx_lm.utils import load_model; from mlx_lm import stream_generate",
    ],
)
def test_who_imports_mlx_lm_finds_all_of_it(use):
    code = """
from composer.components.mlx.mlx_lm_package import model_module
cache = model_module("cache")
"""
    check = """
import sys, transformers, mlx_lm
import mlx_lm.models.cache
assert mlx_lm.models.cache is cache is sys.modules["mlx_lm.models.cache"]
assert transformers.utils.is_torch_available()
assert type(mlx_lm).__name__ == "module" or not hasattr(mlx_lm, "nothing")
print(mlx_lm.generate.__name__)
"""
    assert output(code + use + check) == "generate\n"


@pytest.mark.slow
def test_a_package_that_is_there_already_is_taken():
    code = """
import mlx_lm
from composer.components.mlx.mlx_lm_package import model_module
import sys
assert model_module("cache") is mlx_lm.models.cache and sys.modules["mlx_lm"] is mlx_lm
print(type(mlx_lm).__name__)
"""
    assert output(code) == "module\n"


def test_a_package_that_cannot_be_imported_says_so_each_time():
    code = """
import sys
from composer.components.mlx.mlx_lm_package import model_module
model_module("cache")
import mlx_lm
sys.modules["transformers"] = None
for _ in range(2):
    try:
        mlx_lm.load
    except ImportError as error:
        print(error.name)
"""
    assert output(code) == "transformers\n" * 2

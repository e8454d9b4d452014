"""What mlx.lm reads in headers, and refuses before any weight is read."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import mlx.core as mx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from composer.components.mlx import continued_alone, mlx_lm_support
from composer.components.mlx.lm import MlxLanguageModel
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.checkpoint_files import rename
from tests.components.mlx_lm.models import (
    IDS,
    JSON,
    KEYS,
    ROWS,
    WIDTH,
    edit,
    error_text,
    load,
    save,
    spec,
    torch_model,
    without,
)
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")


def test_facts_come_from_headers_alone(qwen3):
    _, _, folder = qwen3
    facts = MlxLanguageModel.facts(spec(folder), Headers())
    assert {symbol: bound.value for symbol, bound in facts.dims.items()} == {"D": WIDTH, "V": ROWS}
    assert facts.dims["D"].witness == "repo/qwen3: model.embed_tokens.weight [192, 64]"
    assert facts.dtype == "f32"
    assert facts.notes == ()
    assert MlxLanguageModel.facts(spec(folder), None).unknown


def test_facts_import_no_backend(qwen3):
    _, _, folder = qwen3
    code = f"""
import sys
from pathlib import Path
from composer.core.component import ComponentConfig, Spec
from composer.components.mlx.backend import MlxBackend
from composer.components.mlx.checkpoint import read_checkpoint
from composer.components.mlx.lm import MlxLanguageModel
from composer.components.mlx.loader import build_model_without_weights, sanitize
from composer.components.models.stack import Stack
from composer.formats import Headers
from composer.core.location import Location
spec = Spec("decoder", ComponentConfig(), Location("repo", "", Path({str(folder)!r})))
print(MlxLanguageModel.facts(spec, Headers()).dims["D"].value, MlxBackend().name)
print(sorted({{"mlx", "mlx_lm", "tokenizers", "transformers", "torch"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{WIDTH} mlx\n[]\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 128},
            "W241 hidden_size is 128 but the embeddings have 64\n"
            "    64 comes from repo/lm: model.embed_tokens.weight [192, 64]",
        ),
        ({"vocab_size": 200}, "W241 vocab_size is 200 but the embeddings have 192\n"),
        (
            {"num_hidden_layers": 3},
            "W241 num_hidden_layers is 3 but there are tensors of 2 layers\n"
            "    no tensors of layers 2",
        ),
        (
            {"num_hidden_layers": 1},
            "W241 num_hidden_layers is 1 but there are tensors of 2 layers\n"
            "    tensors of layers 1 too",
        ),
        (
            {"tie_word_embeddings": False},
            "W242 tie_word_embeddings is false but there is no lm_head.weight\n",
        ),
        ({"eos_token_id": [2, 192]}, "W244 eos_token_id 192 is outside the vocabulary of 192\n"),
        ({"model_type": "qwen33"}, "W240 the installed mlx-lm has no model_type 'qwen33'\n"),
        ({"model_type": "phi"}, "W240 mlx-lm's 'phi' does not accept input_embeddings"),
        ({"model_type": "gemma4_text"}, "W240 mlx-lm's 'gemma4_text' reads per-layer inputs"),
        ({"model_type": "../evil"}, "W240 config.json has the model_type '../evil', which names"),
        ({"model_type": None}, "W240 config.json names no model_type"),
        ({"model_file": "model.py"}, "S470 'model_file' runs 'model.py', Python code"),
        ({"architectures": 5}, "W240 config.json has the architectures '5'; expected a list of"),
        ({"architectures": [[]]}, "W240 config.json has the architectures '[[]]'; expected a list"),
        ({"architectures": [{}]}, "W240 config.json has the architectures '[{}]'; expected a list"),
        (
            {"rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": "yarn", "factor": 4.0}},
            "W249 rope_scaling has mrope_section and the type 'yarn'",
        ),
        (
            {"rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": [], "type": "mrope"}},
            "W249 rope_scaling has mrope_section and the type '[]'",
        ),
        ({"hidden_size": 64.0}, "W241 hidden_size is 64.0 but the embeddings have 64\n"),
        ({"num_hidden_layers": "2"}, "W241 num_hidden_layers is 2; expected 1 to 10000"),
        ({"num_hidden_layers": 10**19}, "W241 num_hidden_layers is 10000000000000000000; expected"),
        ({"max_position_embeddings": "9"}, "W241 max_position_embeddings is 9; expected 1 to"),
    ],
)
def test_a_config_that_contradicts_the_tensors_is_refused(folder, changes, message):
    edit(folder, **changes)
    assert message in error_text(folder)


@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=4), JSON)
@settings(max_examples=150, deadline=None)
def test_no_config_makes_the_check_fail_otherwise(qwen3, changes, eos):
    """Any value of any key that is read is taken or refused."""
    folder = qwen3[2]
    config = json.loads((folder / "config.json").read_text()) | changes

    class Changed(Headers):
        def config(self, location):
            return {"eos_token_id": eos} if location.inside.endswith(".json") else config

        def exists(self, location):
            return True

    with suppress(ComposerError):
        MlxLanguageModel.facts(spec(folder), Changed())


def test_a_tied_model_with_a_head_is_refused(tmp_path):
    folder = save(torch_model(tied=False), tmp_path / "lm")
    MlxLanguageModel.facts(spec(folder), Headers())
    edit(folder, tie_word_embeddings=True)
    (note,) = MlxLanguageModel.facts(spec(folder), Headers()).notes
    assert note.code == "L333"  # it may be the embeddings once more, which loading compares
    with pytest.raises(ComposerError, match=r"W242 .* the stored head is not the embeddings"):
        load(folder)
    rename(folder, lambda state: state.update({"lm_head.weight": state["lm_head.weight"].half()}))
    assert error_text(folder).startswith(
        "repo/lm/config.json: W242 tie_word_embeddings is true but a head is stored, which would "
        "be ignored\n    lm_head.weight f16 [192, 64]\n"
    )


def test_all_problems_come_at_once(folder):
    edit(folder, hidden_size=1, tie_word_embeddings=False, eos_token_id=999, model_type="phi")
    codes = {
        line.split()[1] for line in error_text(folder).splitlines() if not line.startswith(" ")
    }
    assert codes == {"W240", "W241", "W242", "W244"}


def test_a_folder_without_embeddings_is_no_language_model(folder):
    rename(folder, lambda state: without(state, "model.embed_tokens.weight"))
    assert "W241 a language model has one embed_tokens.weight with two axes" in error_text(folder)


def test_a_folder_without_config_is_no_language_model(folder):
    (folder / "config.json").unlink()
    assert error_text(folder).startswith("W241 repo/lm has no config.json")


def test_the_tokenizer_may_be_elsewhere_but_must_be(folder, tmp_path):
    other = tmp_path / "tokenizer"
    other.mkdir()
    (folder / "tokenizer.json").rename(other / "tokenizer.json")
    assert error_text(folder) == (
        "repo/lm/tokenizer.json: W245 there is no repo/lm/tokenizer.json, so ids cannot become "
        "text\n    hint: point `files` at the folder that holds tokenizer.json, or at the file"
    )
    component_spec = spec(folder, files=other)
    lm = MlxLanguageModel.load(
        component_spec, MlxLanguageModel.facts(component_spec, Headers()), Placement()
    )
    assert outputs(lm.generate(lm.embed(mx.array(IDS)), max_tokens=2))[1]["text"].startswith("w")


def test_files_may_name_the_tokenizer_itself(folder):
    component_spec = spec(folder, files=folder / "tokenizer.json")
    lm = MlxLanguageModel.load(
        component_spec, MlxLanguageModel.facts(component_spec, Headers()), Placement()
    )
    assert lm.tokenizer.id_to_token(5) == "w5"


def test_a_tokenizer_is_read_before_anything_else_reads_it(folder):
    (folder / "tokenizer.json").write_text("no tokenizer")
    assert error_text(folder).startswith("repo/lm/tokenizer.json:1:1: S410 the file is not JSON")


def test_a_tokenizer_with_more_ids_than_rows_is_refused(folder):
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["<one more>"])
    tokenizer.save(str(path))
    assert error_text(folder) == (
        "repo/lm/tokenizer.json: W250 the tokenizer has ids up to 192, but the embeddings have "
        "192 rows\n    repo/lm: model.embed_tokens.weight [192, 64]\n"
        "    hint: give the tokenizer that the model was trained with"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_changed_since_the_check_is_refused(folder, name):
    component_spec, file = spec(folder), folder / name
    component_spec = replace(component_spec, weights=Location("repo", "", folder))
    facts = MlxLanguageModel.facts(component_spec, Headers())
    os.utime(file, (1, 1))
    with pytest.raises(ComposerError) as caught:
        MlxLanguageModel.load(component_spec, facts, Placement())
    assert str(caught.value).startswith(f"R530 repo/{name}: changed after it was checked\n")
    outside = folder.parent / name
    file.rename(outside)
    file.symlink_to(outside)
    with pytest.raises(ComposerError, match="S400 is a link that leads out of repo"):
        MlxLanguageModel.load(component_spec, facts, Placement())


def test_tensors_of_a_dtype_that_does_not_run_are_refused(folder):
    rename(folder, lambda state: state.update({"model.norm.weight": torch.ones(WIDTH).double()}))
    assert "W246 stored in a dtype that no decoder runs in: 1 of " in error_text(folder)


def test_a_model_that_never_stops_is_remarked_on(folder):
    edit(folder, eos_token_id=None)
    (note,) = MlxLanguageModel.facts(spec(folder), Headers()).notes
    assert (note.code, note.severity) == ("L322", "warning")


def test_without_mlx_lm_its_architectures_are_unknown(folder, monkeypatch):
    for module in (mlx_lm_support, continued_alone):
        monkeypatch.setattr(module, "mlx_lm_folder", lambda: None)
    (note,) = MlxLanguageModel.facts(spec(folder), Headers()).notes
    assert (note.code, note.severity) == ("L321", "warning")

"""Every key of a config is read, without effect, or refused by name: against transformers."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from composer.components.mlx import mlx_lm_support
from composer.components.mlx.config.conversion import convert_config
from composer.components.mlx.lm import MlxLanguageModel, MlxLmConfig
from composer.components.mlx.mlx_lm_package import model_module
from composer.components.models.decoder import architectures
from composer.components.models.decoder_config import DecoderConfigReader
from composer.components.onnx.lm import OnnxLanguageModel
from composer.components.onnx.lm.component import OnnxLmConfig as OnnxConfig
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from composer.formats.json_positions import key_position
from tests.config_sweep import ALL, KINDS, cases, run, settings, wrap
from tests.streams import ids_of

FOREIGN = sorted((Path(__file__).parent / "foreign_models").iterdir())
QUICK = {  # the slow sweep has every key of every architecture
    "mistral": ("sliding_window",),
    "qwen3": ("use_sliding_window", "attention_bias"),
    "smollm3": ("no_rope", "as it is"),
    "gemma3_text": ("final_logit",),
    "lfm2": ("as it is", "tie_word"),
    "ministral3": ("as it is",),
    "qwen2_vl": ("as it is", "use_sliding"),
    "mixtral": ("head_dim", "sliding_window"),
    "telechat3": ("as it is",),
    "lfm2-vl": ("as it is",),
    "qwen3_vl_moe": ("as it is",),
}


@pytest.fixture(scope="module", autouse=True)
def quiet():
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


def spec(folder, ignore=()):
    weights = Location("repo", "", folder.parent) / folder.name
    return Spec("decoder", MlxLmConfig(ignore=ignore), weights)


def load(folder, ignore=()):
    component_spec = spec(folder, ignore)
    return MlxLanguageModel.load(
        component_spec, MlxLanguageModel.facts(component_spec, Headers()), Placement()
    )


def error_text(folder, **options):
    with pytest.raises(ComposerError) as caught:
        MlxLanguageModel.facts(spec(folder, **options), Headers())
    return str(caught.value)


def edited(folder, tmp_path, **changes):
    copy = tmp_path / "lm"
    shutil.copytree(folder, copy)
    path = copy / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}, indent=1))
    return copy


@pytest.mark.parametrize("folder", FOREIGN, ids=lambda folder: folder.name)
def test_a_folder_of_transformers_gives_its_ids_and_logits(folder):
    expected = json.loads((folder / "expected.json").read_text())
    lm = load(folder)
    embeds = lm.embed(mx.array(expected["ids"]))
    last = np.array(lm.logits(embeds))[-1][:64]
    np.testing.assert_allclose(last, expected["last_logits"], atol=2e-4)
    assert ids_of(lm.generate(embeds, max_tokens=12)) == expected["greedy"]


@pytest.mark.parametrize("folder", FOREIGN, ids=lambda folder: folder.name)
def test_onnx_runtime_gives_the_same(folder):
    expected = json.loads((folder / "expected.json").read_text())
    component_spec = Spec("d", OnnxConfig(), Location("repo", "", folder.parent) / folder.name)
    lm = OnnxLanguageModel.load(
        component_spec, OnnxLanguageModel.facts(component_spec, Headers()), Placement()
    )
    embeds = lm.embed(np.array(expected["ids"]))
    np.testing.assert_allclose(lm.logits(embeds)[-1][:64], expected["last_logits"], atol=2e-4)
    assert ids_of(lm.generate(embeds, max_tokens=12)) == expected["greedy"]


def sweep(kind, names, tmp_path, backend="mlx"):
    wrong = []
    for number, case in enumerate(cases(kind)):
        if names and not case.name.startswith(names):
            continue
        outcome = run(case, tmp_path / str(number) / "lm", backend)
        late = outcome.what == "LATE" and "R511" not in outcome.detail  # R511: tensors say so
        if late or outcome.what in ("WRONG", "CRASH"):
            wrong.append(outcome)
    return wrong


@pytest.mark.parametrize("kind", QUICK)
def test_other_values_are_right_or_refused(kind, tmp_path):
    assert sweep(kind, QUICK[kind], tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_every_key_of_every_architecture_is_right_or_refused(kind, tmp_path):
    assert sweep(kind, (), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"])
def test_every_key_is_right_or_refused_on_onnx_runtime(kind, tmp_path):
    assert sweep(kind, (), tmp_path, "onnx") == []


def test_every_architecture_that_is_taken_is_swept():
    """What nothing was compared with is refused, muse_spark for one, which rounds to bfloat16."""
    package = mlx_lm_support.mlx_lm_folder()
    names = {file.stem for file in (package / "models").glob("*.py")}
    names |= mlx_lm_support._tables(package / "utils.py")["MODEL_REMAPPING"].keys()
    taken = {name for name in names if not mlx_lm_support.unsupported_problem({"model_type": name})}
    assert taken <= {*ALL} | {"qwen3_5"}  # swept as qwen3_5_text too
    for name in ("gear", "muse_spark", "plamo3", "spark2_5", "talkie"):
        problem = mlx_lm_support.unsupported_problem({"model_type": name})
        assert (problem.code, name in names) == ("W240", True)
        assert f"mlx-lm's '{name}' was not compared with another implementation" in problem.message


SHAPES = {  # what tensors show, and what is no number of the network's
    "head_dim", "hidden_size", "intermediate_size", "max_position_embeddings", "model_type",
    "moe_intermediate_size", "num_attention_heads", "num_experts", "num_hidden_layers",
    "num_key_value_heads", "num_local_experts", "qk_head_dim", "vocab_size",
}  # fmt: skip


def without_each_key(kind):
    """Yield a config without a key, and with transformers' default of it, at a long limit."""
    long = {"max_position_embeddings": 32768}
    config = CONFIG_MAPPING[kind](**settings(kind, long))
    whole = json.loads(config.to_json_string(use_diff=False))
    for key in whole.keys() - SHAPES - {"tie_word_embeddings"}:
        absent = {name: value for name, value in whole.items() if name != key}
        try:
            read = CONFIG_MAPPING[kind](**{k: v for k, v in absent.items() if k != "model_type"})
        except Exception:  # transformers needs it
            continue
        default = json.loads(read.to_json_string(use_diff=False)).get(key)
        yield key, absent, {**absent, key: default}


def converted(config):
    """Return what mlx-lm's dataclass reads, and the window; None where it is refused."""
    models = mlx_lm_support.mlx_lm_folder() / "models"
    name = mlx_lm_support.mlx_lm_module_name(config)
    head = not config.get("tie_word_embeddings", True)
    made = convert_config(config, models, name, head=head)
    if made.problems:
        return None
    read = model_module(name).ModelArgs.from_dict({**made.config})
    return {k: v for k, v in vars(read).items() if k not in SHAPES}, made.window


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "qwen3_5_text"])
def test_an_absent_key_is_transformers_default(kind):
    """Mistral's window of 4096 is one: no prompt of the sweep is as long as that."""
    for key, absent, stated in without_each_key(kind):
        found = converted(absent)
        assert found is None or found == converted(stated), key


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"])
def test_an_absent_key_is_transformers_default_on_onnx_runtime(kind):
    def settings_of(config):
        reader = DecoderConfigReader(config, 64, 160, config.get("tie_word_embeddings", True))
        found = architectures()[kind].read_settings(reader)
        return found if not reader.problems else None

    for key, absent, stated in without_each_key(kind):
        found = settings_of(absent)
        assert found is None or found == settings_of(stated), key


@pytest.mark.parametrize(
    ("outer", "inner"), [("llava", "gemma"), ("llava", "helium"), ("qwen3_vl", "olmo2")]
)
def test_another_text_model_inside_is_refused(tmp_path, outer, inner):
    """Gemma's tensors have Llama's names and shapes."""
    folder = edited(FOREIGN[1], tmp_path)
    wrap(folder, outer)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["model_type"] = inner
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    text = error_text(folder)
    assert "W240 mlx-lm's " in text
    assert f"and text_config is '{inner}'" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config": ...}, ":2:2: W258 text_config is missing, and mlx-lm's mistral3 needs it"),
        ({"text_config": None}, ":5:2: W241 text_config is None; expected an object"),
        ({"rms_norm_eps": 0.1}, "W241 rms_norm_eps is 0.1 and, in text_config, 1e-06"),
        ({"rope_theta": 123}, "W241 rope_theta is 123 and, in text_config, 500000.0"),
    ],
)
def test_what_stands_beside_a_text_model_agrees_with_it(tmp_path, changes, message):
    folder = edited(FOREIGN[1], tmp_path)
    wrap(folder, "mistral3")
    config = json.loads((folder / "config.json").read_text())
    same = {key: config["text_config"][key] for key in ("rms_norm_eps", "vocab_size")}
    config |= same
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    MlxLanguageModel.facts(spec(folder), Headers())
    config = {key: value for key, value in (config | changes).items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    assert message in error_text(folder)


@pytest.mark.parametrize("kind", ["llama"])
def test_onnx_runtime_turns_positions_as_transformers(kind, tmp_path):
    assert sweep(kind, ("rope_parameters",), tmp_path, "onnx") == []


def test_a_refusal_names_the_line_of_the_key(tmp_path):
    folder = edited(FOREIGN[1], tmp_path, hidden_act="gelu", clip_qkv=4.0)
    text = (folder / "config.json").read_text()
    lines = {
        key: 1 + text[: text.index(f'"{key}"')].count("\n") for key in ("hidden_act", "clip_qkv")
    }
    assert error_text(folder) == (
        f"repo/lm/config.json:{lines['hidden_act']}:2: W257 mlx-lm's llama computes silu, and "
        "hidden_act is gelu\n"
        f"repo/lm/config.json:{lines['clip_qkv']}:2: W257 mlx-lm's llama does not read clip_qkv, "
        "which is 4.0\n"
        "    hint: if it changes nothing in these weights, name it in `ignore` of the component's "
        "config"
    )


def test_an_author_declares_a_key_to_be_without_effect(tmp_path):
    folder = edited(FOREIGN[1], tmp_path, clip_qkv=4.0)
    load(folder, ignore=("clip_qkv",))


@pytest.mark.parametrize(
    ("rope", "positions"),
    [
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, 256),
        ({"rope_type": "linear", "factor": 4.0}, 256),
        ({"rope_type": "llama3", "factor": 2.0, "original_max_position_embeddings": 16}, 64),
        ({"rope_type": "dynamic", "factor": 4.0}, 64),
        ({"rope_type": "default"}, 64),
    ],
)
@pytest.mark.parametrize("spelling", ["rope_scaling", "rope_parameters"])
def test_a_limit_with_scaling_is_the_scaled_one(tmp_path, rope, positions, spelling):
    changes = {"rope_parameters": None, "max_position_embeddings": 64, "rope_theta": 1e4}
    folder = edited(FOREIGN[1], tmp_path, **(changes | {spelling: rope}))
    lm = load(folder)
    ids = mx.array(np.arange(positions) % 100 + 3)
    assert lm.writer.limit == positions
    with pytest.raises(ComposerError, match=f"{positions}"):
        lm.generate(lm.embed(ids), max_tokens=8)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"rope_theta": 1e4}, "W241 rope_theta is 10000.0 and, in rope_parameters, 500000.0"),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "W241 rope_scaling and rope_param",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "ntk": 2}},
            "W257 nothing",
        ),
        ({"rope_parameters": {"rope_type": "linear"}}, "W241 factor is missing; linear needs it"),
        ({"rope_parameters": {"rope_type": "linear", "factor": "x"}}, "W241 factor is x; expected"),
        ({"rope_parameters": [1]}, "W241 rope_parameters is '[1]'; expected an object"),
        ({"text_config": {"a": 1}}, "W257 mlx-lm's llama does not read text_config"),
        (
            {"layer_types": ["sliding_attention"] * 3, "sliding_window": 8},
            "W257 transformers' llama",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, changes, messages):
    assert messages in error_text(edited(FOREIGN[1], tmp_path, **changes))


def test_lfm2_needs_no_block_dim(tmp_path):
    """transformers does not write it: it is the hidden size."""
    models = Path(__import__("mlx_lm").__path__[0]) / "models"
    config = {"model_type": "lfm2", "hidden_size": 32, "num_attention_heads": 2}
    made = convert_config(config, models, "lfm2", head=False)
    assert made.config["block_dim"] == 32
    messages = [problem.message for _, problem in made.problems]
    assert "layer_types is missing, and mlx-lm's lfm2 needs it" in messages


@pytest.mark.parametrize(
    ("path", "place"),
    [(("a",), (1, 3)), (("b", "a"), (2, 9)), (("c",), (3, 2)), (("c", "d"), None), (("x",), None)],
)
def test_the_place_of_a_key(path, place):
    text = '{ "a": "b: {",\n  "b": {"a": [{"a": 1, "x": 2}]},\n "c": 3}'
    assert key_position(text, path) == place

"""Language models inside checkpoints that transformers writes: by prefix, and whole."""

import json

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from composer.components.mlx.lm import MlxLanguageModel
from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.checkpoint_files import write_tokenizer
from tests.config_sweep import IDS, KINDS, ROWS, SIZES, greedy_of_torch, stirred
from tests.streams import ids_of

COMPONENTS = {"mlx": MlxLanguageModel, "onnx": OnnxLanguageModel}
pytestmark = pytest.mark.usefixtures("one_thread")
BACKENDS = pytest.mark.parametrize("backend", COMPONENTS)
TOWER = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14, "depth": 1, "embed_dim": 32, "num_heads": 2,
    "out_hidden_size": 64, "fullatt_block_indexes": [0], "deepstack_visual_indexes": [0],
}  # fmt: skip
EAR = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
AXES = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
# A model, its class, the kind of its text model, and the prefixes that name it.
MODELS = {
    "llava": ("Llava", "llama", ("language_model", "language_model.model")),
    "mistral3": ("Mistral3", "mistral", ("language_model",)),  # tied by the outer config alone
    "gemma3": ("Gemma3", "gemma3_text", ("language_model",)),
    "qwen2_vl": ("Qwen2VL", "qwen2_vl_text", ("model",)),
    "qwen3_vl": ("Qwen3VL", "qwen3_vl_text", ("model.language_model",)),
    "idefics3": ("Idefics3", "llama", ("model.text_model",)),
    "voxtral": ("Voxtral", "llama", ("language_model",)),
    "qwen3_vl_moe": ("Qwen3VLMoe", "qwen3_vl_moe_text", ("model.language_model",)),
}
QUICK = ("mistral3", "qwen3_vl")
WHOLE = ("llava", "mistral3", "gemma3", "qwen2_vl", "qwen3_vl")  # mlx-lm knows them


def by_speed(names):
    """Leave most models to the slow tests."""
    marks = {True: (), False: pytest.mark.slow}
    return [pytest.param(name, marks=marks[name in QUICK]) for name in names]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of transformers and the folder that it is saved in, by name."""
    found = {}

    def make(name):
        if name not in found:
            found[name] = write(name, tmp_path_factory.mktemp(name) / "lm")
        return found[name]

    return make


def write(name, folder):
    outer, kind, _ = MODELS[name]
    text = {**SIZES, **KINDS.get(kind, {}), "model_type": kind}
    if "vl" in name:
        text |= {"rope_parameters": AXES}
    if "moe" in name:
        text |= {"moe_intermediate_size": 24, "num_experts": 4}
    configs = {"text_config": text}
    for key in CONFIG_MAPPING[name].sub_configs:
        if key != "text_config":
            configs[key] = EAR if "audio" in key else TOWER
    config = CONFIG_MAPPING[name](**configs)
    torch.manual_seed(0)
    model = getattr(transformers, f"{outer}ForConditionalGeneration")
    model = stirred(model._from_config(config, attn_implementation="eager").eval())
    model.save_pretrained(folder)
    write_tokenizer(folder, ROWS)
    return model, folder


def load(folder, backend, prefix=""):
    component = COMPONENTS[backend]
    spec = Spec("d", component.Config(prefix=prefix), Location("repo", "lm", folder.parent))
    facts = component.facts(spec, Headers())
    return component.load(spec, facts, Placement()), facts


def refusal(folder, backend, prefix=""):
    """Return what check says."""
    component = COMPONENTS[backend]
    spec = Spec("d", component.Config(prefix=prefix), Location("repo", "lm", folder.parent))
    with pytest.raises(ComposerError) as caught:
        component.facts(spec, Headers())
    return str(caught.value)


def far(lm, model):
    """Return how far logits are from those of transformers; ids that differ are infinitely far."""
    embeds = lm.embed(mx.array(IDS) if isinstance(lm, MlxLanguageModel) else IDS)
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor(IDS)[None], use_cache=False).logits[0].numpy()
    wanted = greedy_of_torch(model)
    if 2 in wanted:
        wanted = wanted[: wanted.index(2)]
    if ids_of(lm.generate(embeds, max_tokens=8)) != wanted:
        return np.inf
    return np.abs(np.array(lm.logits(embeds)) - theirs).max() / np.abs(theirs).max()


@BACKENDS
@pytest.mark.parametrize("name", by_speed(name for name in MODELS if "moe" not in name))
def test_a_language_model_is_named_by_its_prefix(made, name, backend):
    model, folder = made(name)
    for prefix in MODELS[name][2]:
        lm, facts = load(folder, backend, prefix)
        assert far(lm, model) < 1e-4
        assert "are not the text decoder's" in str(facts.notes[0])


@pytest.mark.parametrize("name", by_speed(WHOLE))
def test_a_whole_checkpoint_that_mlx_lm_knows_needs_no_prefix(made, name):
    model, folder = made(name)
    lm, facts = load(folder, "mlx")
    assert far(lm, model) < 1e-4
    assert "are not the text decoder's" in str(facts.notes[0])


@BACKENDS
def test_a_head_beside_the_part_is_its_head(made, tmp_path, backend):
    """With another head there are other logits, and without one none."""
    model, folder = made("qwen3_vl")
    copy = tmp_path / "lm"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    state = load_file(folder / "model.safetensors")
    other = state | {"lm_head.weight": state["lm_head.weight"].flip(0).contiguous()}
    save_file(other, copy / "model.safetensors", metadata={"format": "pt"})
    assert far(load(copy, backend, "model.language_model")[0], model) > 0.1
    del state["lm_head.weight"]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    assert "W242 tie_word_embeddings is false but there is no" in refusal(
        copy, backend, "model.language_model"
    )


def line_of(folder, text):
    lines = (folder / "config.json").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_what_a_backend_does_not_know_whole_is_named_with_its_prefix(made):
    for backend, name, code in (("mlx", "voxtral", "W240"), ("onnx", "qwen3_vl", "W254")):
        folder = made(name)[1]
        prefix, kind = MODELS[name][2][0], MODELS[name][1]
        at = line_of(folder, f'"model_type": "{name}"')
        text = refusal(folder, backend)
        assert text.startswith(f"repo/lm/config.json:{at}:3: {code} ")
        hint = f"hint: its language model, '{kind}', is named by config: {{prefix: {prefix}}}"
        assert hint in text


def test_joined_experts_of_another_layout_are_refused_at_check(made):
    _, folder = made("qwen3_vl_moe")
    at = line_of(folder, '"model_type": "qwen3_vl_moe"')
    assert refusal(folder, "mlx").startswith(
        f"repo/lm/config.json:{at}:3: W255 mlx-lm's qwen3_vl_moe does not take "
        "model.language_model.layers.0.mlp.experts.gate_up_proj with these axes"
    )


def test_convolutions_of_torch_are_refused_at_check_and_read_by_prefix(tmp_path):
    text = {**SIZES, **KINDS["lfm2"], "model_type": "lfm2"}
    torch.manual_seed(0)
    model = transformers.Lfm2ForCausalLM(CONFIG_MAPPING["lfm2"](**text)).eval()
    folder = tmp_path / "lm"
    model.save_pretrained(folder)
    write_tokenizer(folder, ROWS)
    config = {
        "model_type": "lfm2-vl",
        "text_config": json.loads((folder / "config.json").read_text()),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    state = load_file(folder / "model.safetensors")
    state = {f"language_model.{name}": value for name, value in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    text = refusal(folder, "mlx")
    assert text.startswith("repo/lm/config.json:2:2: W255 mlx-lm's lfm2-vl does not take ")
    assert text.endswith("is named by config: {prefix: language_model}")
    assert far(load(folder, "mlx", "language_model")[0], model) < 1e-4

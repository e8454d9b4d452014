"""What is wrong with a quantization is reported from headers alone, before weights are fetched."""

import json

import pytest

import composer
from mirror import File
from tests import releases
from tests.replica import safetensors

MANIFEST = """\
composer: 1
name: lm
sources: {{repo: "hf:ann/lm"}}
components: {{decoder: {{use: mlx.lm, weights: repo, precision: {precision}}}}}
inputs: {{ids: ids}}
graph:
  words: {{run: decoder.embed, with: {{ids: $ids}}}}
  answer: {{run: decoder.generate, with: {{embeds: $words}}}}
outputs: {{text: $answer.text}}
"""


def served(folder):
    """Return the files of a repository; those of weights are holes that nobody downloads."""
    files = {}
    for number, path in enumerate(sorted(folder.iterdir())):
        large = path.suffix == ".safetensors"
        files[path.name] = File(path, True, f"{number + 1:064x}") if large else path.read_bytes()
    return files


def checked(mirror, bundle, **options):
    """Return the warnings and errors of a check that fetches headers alone."""
    report = composer.check(bundle, **options)
    ranges = [r.range for r in mirror.requests_of("/store/") if r.method == "GET"]
    assert all(ranges)
    assert mirror.sent < 3_000_000
    return {problem.code: problem for problem in report.problems}


def of_converters(folder, bits):
    """Write E2B as the default recipes of converters have it: every matrix packed but towers'."""
    releases.gemma4(folder, "e2b", bits, every_matrix=True)
    return folder


@pytest.mark.parametrize("bits", [4, 8])
def test_a_table_a_projection_and_a_tower_in_few_bits(hub, tmp_path, bits):
    mirror = hub({"ann/community": served(of_converters(tmp_path / "repo", bits))})
    found = checked(mirror, "ann/community")
    assert found["L339"].message.startswith(
        "repo: the checkpoint is quantized in embed_audio.embedding_projection, which are encoders'"
    )
    assert ("L324" in found) == (bits < 8)
    if bits < 8:
        message = found["L324"].message
        assert message.startswith(
            "repo: the checkpoint is quantized in embed_tokens, embed_tokens_per_"
        )
        assert found["L324"].causes == ("73 modules at 4 bits",)  # two tables, a projection, 35 x 2
    assert all(problem.severity == "warning" for problem in found.values())


def test_a_release_that_is_safe_has_no_such_warning(hub, tmp_path):
    mirror = hub({"ann/safe": served(releases.gemma4(tmp_path / "repo", "e2b", 4))})
    assert not {"L324", "L339"} & checked(mirror, "ann/safe").keys()


@pytest.mark.parametrize(
    ("precision", "code", "message"),
    [
        ("bfloat16", None, ""),
        (
            "float16", "L346",
            "precision is float16, which rounds weights that are stored in bfloat16",
        ),
        (
            "{bits: 4, group_size: 128}", "W246",
            "model.layers.0.mlp.down_proj has 3136 columns, not a multiple of the group size 128",
        ),
    ],
)  # fmt: skip
def test_a_stored_dtype_and_a_group_size(hub, tmp_path, precision, code, message):
    mirror = hub({"ann/lm": served(plain(tmp_path / "repo"))})
    (tmp_path / "bundle.yaml").write_text(MANIFEST.format(precision=precision))
    found = checked(mirror, tmp_path / "bundle.yaml")
    assert ([*found] == [code]) if code else not found
    assert not code or found[code].message == message


def plain(folder):
    """Write a small Qwen3 in bfloat16 whose MLP is as wide as 49 groups of 64."""
    width, inner = 1024, 3136
    at = "model.layers.0."
    shapes = {
        "model.embed_tokens": (4096, width),
        "model.norm": (width,),
        f"{at}input_layernorm": (width,),
        f"{at}post_attention_layernorm": (width,),
        f"{at}self_attn.q_norm": (128,),
        f"{at}self_attn.k_norm": (128,),
        f"{at}self_attn.q_proj": (1024, width),
        f"{at}self_attn.k_proj": (512, width),
        f"{at}self_attn.v_proj": (512, width),
        f"{at}self_attn.o_proj": (width, 1024),
        f"{at}mlp.gate_proj": (inner, width),
        f"{at}mlp.up_proj": (inner, width),
        f"{at}mlp.down_proj": (width, inner),
    }
    stored = {f"{name}.weight": ("BF16", shape) for name, shape in shapes.items()}
    safetensors(folder / "model.safetensors", stored)
    config = {
        "model_type": "qwen3", "hidden_size": width, "num_hidden_layers": 1,
        "intermediate_size": inner, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 128, "rms_norm_eps": 1e-6, "vocab_size": 4096, "rope_theta": 1e6,
        "max_position_embeddings": 4096, "tie_word_embeddings": True, "eos_token_id": 0,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    releases.tokenizer(folder)
    return folder

"""onnx.gemma4 against transformers and mlx.gemma4, from the same folders."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.components.models.gemma4_inputs import NOT_GIVEN
from composer.components.onnx.gemma4 import OnnxGemma4
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats import Headers
from composer.generation.engine import Engine, Request
from composer.generation.sampler import Sampling
from composer.generation.stop import StopRules
from tests.components.checkpoint_files import rename
from tests.components.gemma4_models import KINDS, PAD, ROWS, SMALL, WIDTH, edit, save, torch_model
from tests.components.gemma4_models import load as load_mlx
from tests.components.gemma4_models import spec as plain_spec
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = np.random.default_rng(0).integers(3, ROWS, 30)
MARKED = np.isin(np.arange(30), [4, 5, 6, 7, 8, 9, 10, 11, 12, 20])
SOFT = np.random.default_rng(1).normal(0, 1, (MARKED.sum(), WIDTH)).astype(np.float32)
COUNT = 24
COMPUTED = [kind for kind in KINDS if kind != "26b"]


def spec(folder, precision=None, activations="float32"):
    return replace(plain_spec(folder, precision), config=OnnxGemma4.Config(activations=activations))


def facts_of(folder, **more):
    return OnnxGemma4.facts(spec(folder, **more), Headers())


def load(folder, **more):
    return OnnxGemma4.load(spec(folder, **more), facts_of(folder, **more), Placement(threads=1))


def error_text(folder, **more):
    with pytest.raises(ComposerError) as caught:
        facts_of(folder, **more)
    return str(caught.value).replace(f"repo/{folder.name}", "repo/lm")


def given(lm, small=True, at=PAD):
    """Return a prompt with soft rows in it, pad's per-layer rows where they stand."""
    mlx = lm.backend == "mlx"
    ids = np.where(MARKED, at, IDS)
    ids = mx.array(ids) if mlx else ids
    embeds = np.array(lm.embed(ids))
    embeds[MARKED] = SOFT
    rows = (lm.per_layer(ids),) if small else ()
    return (mx.array(embeds) if mlx else embeds, *rows)


def greedy(lm, *rows, count=COUNT, **options):
    return outputs(lm.generate(*rows, max_tokens=count, stop=(), **options))[1]["ids"].tolist()


def away(found, expected):
    """Return the largest difference, as a part of the largest number."""
    found, expected = np.array(found), np.array(expected)
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.fixture(scope="module", params=COMPUTED)
def pair(request, tmp_path_factory):
    """Return a kind, a model of transformers, its folder, and the same on both backends."""
    kind = request.param
    model = torch_model(kind)
    folder = save(model, tmp_path_factory.mktemp("gemma4") / kind, kind)
    return kind, model, folder, load(folder), load_mlx(folder, device="cpu")


def test_embeddings_and_rows_are_those_of_transformers(pair):
    kind, model, _, lm, mlx = pair
    ids = torch.tensor(IDS)
    with torch.no_grad():
        scaled = model.model.embed_tokens(ids).numpy()
    np.testing.assert_allclose(lm.embed(IDS), scaled, rtol=1e-6)
    table = model.model.embed_tokens.weight.detach().numpy()
    np.testing.assert_array_equal(lm.embed_unscaled(IDS), table[IDS])
    np.testing.assert_array_equal(lm.scaled(lm.embed_unscaled(IDS)), lm.embed(IDS))
    np.testing.assert_array_equal(lm.embed(IDS), np.array(mlx.embed(mx.array(IDS))))
    if kind in SMALL:
        with torch.no_grad():
            rows = model.model.get_per_layer_inputs(ids).numpy()
        np.testing.assert_allclose(lm.per_layer(IDS), rows, rtol=1e-6)
        zeros = lm.per_layer(IDS, MARKED)
        assert not zeros[MARKED].any()
        np.testing.assert_array_equal(zeros, mlx.per_layer(mx.array(IDS), mx.array(MARKED)))


def test_numbers_and_ids_are_those_of_mlx_in_any_chunks(pair, monkeypatch):
    kind, _, _, lm, mlx = pair
    ours, theirs = given(lm, kind in SMALL), given(mlx, kind in SMALL)
    expected, ids = mlx.logits(*theirs), greedy(mlx, *theirs)
    assert len(set(ids)) > 4
    for chunk in (1, 7, 64, 512):
        monkeypatch.setattr(lm.decoder, "chunk", chunk)
        assert away(lm.logits(*ours), expected) < 1e-4
        assert greedy(lm, *ours) == ids
    after = np.array(ids[:6])
    replayed = lm.replay(ours[0], after, *ours[1:])
    assert away(replayed, mlx.replay(theirs[0], mx.array(after), *theirs[1:])) < 1e-4


def test_a_kept_cache_changes_nothing(pair):
    kind, _, _, lm, _ = pair
    rows = given(lm, kind in SMALL)
    ids = greedy(lm, *rows)
    for part in (30, 13, 30):
        short = [each[:part] for each in rows]
        assert greedy(lm, *short, reuse_cache=True) == greedy(lm, *short)
    assert greedy(lm, *rows, reuse_cache=True) == ids


def test_several_in_flight_equal_their_solo_runs(pair):
    kind, _, _, lm, _ = pair
    rows = given(lm, kind in SMALL)
    prompts = [[each[:size] for each in rows] for size in (30, 1, 11)]
    counts, engine = (12, 3, 9), Engine(lm.decoder, lm.writer.tokenizer)
    alone = [greedy(lm, *each, count=count) for each, count in zip(prompts, counts, strict=True)]
    answers = []
    for each, count in zip(prompts, counts, strict=True):
        per_layer = each[1] if kind in SMALL else NOT_GIVEN
        prompt = lm.prompt(each[0], per_layer, None, ())
        answers.append(engine.add(Request(prompt, Sampling(), StopRules(lm.writer.stop, count))))
        engine.advance()
    while engine.busy:
        engine.advance()
    assert [answer.ids for answer in answers] == alone


def test_a_prompt_has_what_its_decoder_takes(pair):
    kind, _, _, lm, _ = pair
    rows = given(lm, kind in SMALL)
    wrong, message = (rows[:1], "takes per-layer inputs")
    if kind not in SMALL:
        wrong, message = (*rows, rows[0]), "takes no per-layer inputs"
    with pytest.raises(ComposerError, match=f"R556 this decoder {message}"):
        lm.generate(*wrong)
    with pytest.raises(ComposerError, match=f"R513 ids {ROWS} are outside the vocabulary"):
        lm.embed(np.array([1, ROWS]))


@pytest.mark.parametrize("prefix", ["model.", "language_model.model.", "model.language_model."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_layout_is_the_same_model(tmp_path, prefix, dtype):
    whole = prefix == "model.language_model."
    folder = save(torch_model("e4b"), tmp_path / "lm", "e4b", dtype, prefix, whole)
    lm, mlx = load(folder), load_mlx(folder, "float32", device="cpu")
    assert away(lm.logits(*given(lm)), mlx.logits(*given(mlx))) < 1e-4
    assert [note.code for note in facts_of(folder).notes] == (["L325", "L326"] if whole else [])


SAFE = QuantizationRecipe(bits=4, group_size=32)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("safe", [True, False])
def test_what_mlx_has_quantized_is_the_same_model(tmp_path, bits, safe):
    """Attention and MLP alone, or by default everything, the per-layer table too."""
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    folder = save(torch_model("e2b"), tmp_path / "plain", "e2b")
    theirs, config = load_model(folder)
    names = ("self_attn", "mlp")

    def chosen(path, module):
        return hasattr(module, "to_quantized") and (not safe or any(n in path for n in names))

    theirs, config = quantize_model(theirs, config, 32, bits, quant_predicate=chosen)
    packed = tmp_path / "packed"
    save_model(packed, theirs)
    save_config(config, packed / "config.json")
    (packed / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    lm, mlx = load(packed), load_mlx(packed, device="cpu")
    ours, expected = given(lm), given(mlx)
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-6, atol=1e-6)
    assert away(lm.logits(*ours), mlx.logits(*expected)) < 1e-4
    assert greedy(lm, *ours) == greedy(mlx, *expected)
    int8 = load(packed, activations="int8")
    assert 1e-4 < away(int8.logits(*ours), mlx.logits(*expected)) < 0.5
    facts = facts_of(packed)
    assert facts.mapped == sum(part.nbytes for part in lm.table.module.parts.values())
    widened = "f32 -> f32" not in " ".join(facts.casts)
    assert widened


def test_what_it_does_not_compute_is_refused(tmp_path):
    experts = save(torch_model("26b"), tmp_path / "26b", "26b")
    assert error_text(experts) == (
        "repo/lm/config.json: W254 composer has no network of its own for Gemma-4 with experts\n"
        "    num_experts 8 comes from it\n"
        "    hint: use mlx.gemma4, which takes it"
    )
    folder = save(torch_model("e4b"), tmp_path / "e4b", "e4b")
    assert error_text(folder, precision="bfloat16") == (
        "W246 onnx.gemma4 computes in float32, not bfloat16\n"
        "    hint: ONNX Runtime attends and multiplies packed weights in float32 on a CPU: leave "
        "precision out, or use mlx.gemma4"
    )
    floats = QuantizationRecipe(4, 32, mode="mxfp4")
    assert "W246 onnx.gemma4 packs in the affine form" in error_text(folder, precision=floats)
    both = error_text(edit(folder, attention_bias=True), precision="bfloat16")
    assert "W246" in both
    assert "W275" in both


def test_a_packing_that_it_does_not_multiply_is_widened(tmp_path):
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    folder = save(torch_model("e2b"), tmp_path / "plain", "e2b")
    theirs, config = load_model(folder)
    theirs, config = quantize_model(theirs, config, 32, 6)
    save_model(tmp_path / "lm", theirs)
    save_config(config, tmp_path / "lm" / "config.json")
    (tmp_path / "lm" / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    lm = load(tmp_path / "lm")
    ours = lm.logits(lm.embed(IDS), lm.per_layer(IDS))
    assert away(ours, theirs(mx.array(IDS)[None])[0]) < 1e-4


def test_facts_say_what_stays_in_the_file(pair):
    kind, _, folder, lm, _ = pair
    facts = facts_of(folder)
    assert facts.dtype == "f32"
    assert {name: bound.value for name, bound in facts.dims.items()} == (
        {"D": WIDTH, "V": ROWS} | ({"L": 6, "P": 16} if kind in SMALL else {})
    )
    assert facts.mapped == (4 * ROWS * 6 * 16 if kind in SMALL else 0)
    inputs = facts.methods["generate"].inputs.keys()
    assert inputs == {"embeds", "per_layer" if kind in SMALL else "pictures", "when"}
    assert ("per_layer" in facts.methods) is (kind in SMALL)
    missing = "pictures" if kind in SMALL else "per_layer"
    assert facts.missing_reasons.keys() == {missing}
    assert lm.table is None or lm.table.module.path == "embed_tokens_per_layer"


def test_a_file_that_is_written_again_is_refused(tmp_path):
    folder = save(torch_model("e4b"), tmp_path / "lm", "e4b")
    lm = load(folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ComposerError, match="changed while it was being read"):
        lm.per_layer(IDS)


def test_a_head_that_is_stored_twice_is_compared(tmp_path):
    folder = save(torch_model("e4b"), tmp_path / "lm", "e4b", tie_word_embeddings=True)
    alone = load(folder)
    rename(folder, lambda state: state.update(copy_of_table(state, 1)))
    lm, mlx = load(folder), load_mlx(folder, device="cpu")
    np.testing.assert_array_equal(lm.logits(*given(lm)), alone.logits(*given(alone)))
    assert away(lm.logits(*given(lm)), mlx.logits(*given(mlx))) < 1e-4
    rename(folder, lambda state: state.update(copy_of_table(state, 2)))
    for other in (load, load_mlx):
        with pytest.raises(ComposerError, match="W242 tie_word_embeddings is true but the stored"):
            other(folder)
    edit(folder, tie_word_embeddings=False)
    lm, mlx = load(folder), load_mlx(folder, device="cpu")
    assert away(lm.logits(*given(lm)), mlx.logits(*given(mlx))) < 1e-4
    assert away(lm.logits(*given(lm)), alone.logits(*given(alone))) > 0.1


def copy_of_table(state, factor):
    return {"lm_head.weight": state["model.embed_tokens.weight"] * factor}

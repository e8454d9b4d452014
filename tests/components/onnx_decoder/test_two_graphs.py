"""A decoder that is two graphs: one reads a prompt, the other goes on from its keys and values."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from composer.components.onnx.decoder import OnnxDecoderFile
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import Headers
from tests.components.mlx_lm.models import IDS, greedy_of_torch, torch_model
from tests.components.onnx_decoder.loading import facts_of, load, refusal, write_folder
from tests.components.onnx_lm.loading import logits_of_torch, separate_store
from tests.models.onnx_exports import (
    calibrated_q4,
    edited,
    export_decoder,
    export_embedding,
    pack_q4,
)
from tests.streams import ids_of

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE, FAR = 1e-4, 1e-2
STEP, PREFILL = "onnx/decoder_step_int4.onnx", "onnx/decoder_prefill_int4.onnx"
EMBED = "onnx/embed_tokens.onnx"
BOTH = {"prefill": PREFILL, "embed": EMBED}
STOP = {"eos_token_id": 5}  # which it does not come to


def one_token(graph):
    """Fix the step's inputs at one token, as exporters do that trace it with one."""
    for each in (*graph.input, *graph.output):
        if each.name in ("inputs_embeds", "input_ids", "position_ids", "logits"):
            each.type.tensor_type.shape.dim[1].dim_value = 1


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return a Qwen3 whose weights are those of asymmetric codes, in the layout of Mega-ASR's."""
    model = torch_model(num_hidden_layers=2)
    codes = calibrated_q4(model)
    folder = write_folder(model, tmp_path_factory.mktemp("two") / "repo", **STOP)
    for name, cached in ((STEP, True), (PREFILL, False)):
        export_decoder(model, folder / name, embeds=True, cached=cached)
        pack_q4(folder / name, codes, folder / name)
    edited(folder / STEP, folder / STEP, one_token)
    export_embedding(model, folder / EMBED)
    return SimpleNamespace(
        model=model, folder=folder, codes=codes,
        logits=logits_of_torch(model), ids=greedy_of_torch(model),
    )  # fmt: skip


def embedded(two, ids=IDS):
    with torch.no_grad():
        return two.model.model.embed_tokens(torch.tensor(ids)).numpy()


def edit(two, tmp_path, file, change):
    """Return a folder whose one graph is changed."""
    write_folder(two.model, tmp_path, **STOP)
    for name in (STEP, PREFILL, EMBED):
        edited(two.folder / name, tmp_path / name, change if name == file else lambda graph: None)
    return tmp_path


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_gives_the_logits_and_ids_of_the_widened_codes(two, isolated):
    lm = load(two.folder, STEP, isolated, **BOTH)
    embeds = embedded(two)
    assert separate_store(lm.logits(embeds=embeds), two.logits) < CLOSE
    found = lm.replay(embeds=embeds[:5], ids=IDS[5:])
    assert separate_store(found, two.logits[4:-1]) < CLOSE
    assert ids_of(lm.generate(embeds=embeds, max_tokens=24)) == two.ids


def changed(suffix, change):
    """Return what changes the numbers of all products that are called so."""

    def own(graph):
        for each in graph.initializer:
            if each.name.endswith(suffix):
                each.raw_data = change(np.frombuffer(each.raw_data, np.uint8)).tobytes()

    return own


WRONG = {
    "zero points left out": changed("_zeros", lambda codes: np.full_like(codes, 0x88)),
    "the high ones first": changed("_codes", lambda codes: codes >> 4 | codes << 4),
    "zero points, the high ones first": changed("_zeros", lambda codes: codes >> 4 | codes << 4),
}


@pytest.mark.parametrize("file", [STEP, PREFILL])
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_other_codes_are_far_away(two, tmp_path, file, change):
    lm = load(edit(two, tmp_path, file, change), STEP, **BOTH)
    found = lm.replay(embeds=embedded(two)[:5], ids=IDS[5:])
    assert separate_store(found, two.logits[4:-1]) > FAR


def test_the_cache_of_the_prompt_is_handed_over(two):
    lm = load(two.folder, STEP, **BOTH)
    state = lm.decoder.prefill(lm.input(None, embedded(two)[:9], None))
    assert separate_store(state.logits, two.logits[8]) < CLOSE
    for value in state.cache.handed.values():
        assert value.any()
        value[:] = 0
    lm.decoder.step([state], IDS[9:10].tolist())
    assert separate_store(state.logits, two.logits[9]) > FAR
    state = lm.decoder.prefill(lm.input(None, embedded(two)[:9], None))
    state.cache.handed = {}
    with pytest.raises(ComposerError, match="what it remembered of this text is lost"):
        lm.decoder.step([state], IDS[9:10].tolist())


def test_a_conversation_goes_on_by_the_step(two):
    """One token at a time, since it takes one; what was read is cut where the texts differ."""
    lm = load(two.folder, STEP, **BOTH)
    first = ids_of(lm.generate(embeds=embedded(two), max_tokens=4, reuse_cache=True))
    longer = embedded(two, np.concatenate([IDS[:-2], first, IDS[:3]]))
    reads, read = [], lm.decoder.session.first.run
    lm.decoder.session.first.run = lambda feeds: reads.append(feeds) or read(feeds)
    again = ids_of(lm.generate(embeds=longer, max_tokens=4, reuse_cache=True))
    assert not reads
    assert again == ids_of(load(two.folder, STEP, **BOTH).generate(embeds=longer, max_tokens=4))


@pytest.mark.slow
def test_a_step_may_take_ids(two, tmp_path):
    """The embeddings are inside of it; a prompt that has any is read anew each time."""
    folder = edit(two, tmp_path, None, None)
    export_decoder(two.model, folder / STEP)
    lm = load(folder, STEP, **BOTH)
    for _ in range(2):
        found = lm.generate(embeds=embedded(two), max_tokens=24, reuse_cache=True)
        assert ids_of(found) == two.ids


def test_logits_of_the_last_row_alone_will_do(two, tmp_path):
    def last(graph):
        graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
        for node in graph.node:
            node.output[:] = ["every" if name == "logits" else name for name in node.output]
        at = numpy_helper.from_array(np.array([-1]), "last_row")
        graph.initializer.append(at)
        graph.node.append(helper.make_node("Gather", ["every", "last_row"], ["logits"], axis=1))

    lm = load(edit(two, tmp_path, PREFILL, last), STEP, **BOTH)
    assert separate_store(lm.logits(embeds=embedded(two)), two.logits) < CLOSE


def rename(graph, old, new):
    for each in (*graph.input, *graph.output):
        each.name = each.name.replace(old, new)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [each.replace(old, new) if each.startswith(old) else each for each in names]


def test_ports_of_other_names_are_named_by_the_manifest(two, tmp_path):
    def own(graph):
        rename(graph, "inputs_embeds", "hidden_in")
        rename(graph, "past_key_values.", "kv_in_")

    folder = edit(two, tmp_path, STEP, own)
    text = refusal(folder, STEP, **BOTH)
    assert "repo/onnx/decoder_step_int4.onnx: W282 a decoder takes either input_ids" in text
    assert "W282 nothing is known to go into the input kv_in_0.key f32" in text
    names = {"hidden_in": "inputs_embeds", "kv_in_%d.key": "past_key_values.%d.key"}
    names["kv_in_%d.value"] = "past_key_values.%d.value"
    lm = load(folder, STEP, **BOTH, names=names)
    assert ids_of(lm.generate(embeds=embedded(two), max_tokens=24)) == two.ids
    assert refusal(folder, STEP, **BOTH, names=names | {"x_%d": "logits"}) == (
        "W282 config.names has x_%d, which no input or output is called"
    )


def transposed(graph):
    dims = next(e for e in graph.output if e.name == "present.0.key").type.tensor_type.shape.dim
    dims[1].dim_param, dims[2].dim_value, dims[3].dim_param = "total", 2, "width"


def without_output(graph):
    graph.output.remove(next(e for e in graph.output if e.name == "present.1.value"))


def narrow(graph):
    next(e for e in graph.output if e.name == "present.0.value").type.tensor_type.shape.dim[
        3
    ].dim_value = 8


def other_layer(graph):
    rename(graph, "present.1.", "present.2.")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (transposed, "present.0.key f32 [batch_size, total, 2, width] is not what the step takes"),
        (narrow, "present.0.value f32 [batch_size, 2, total_sequence_length, 8] is not what the "
         "step takes"),
        (without_output, "it has no output present.1.value, which the step takes"),
        (other_layer, "it has no output present.1.key, which the step takes"),
    ],
)  # fmt: skip
def test_keys_that_the_step_does_not_take_are_refused(two, tmp_path, change, text):
    found = refusal(edit(two, tmp_path, PREFILL, change), STEP, **BOTH)
    assert found.startswith(f"repo/{PREFILL}: W283 {text}")


def test_one_graph_in_place_of_the_other_is_refused(two):
    message = f"repo/{STEP}: W282 it takes a cache: it reads prompts and continues them"
    assert message in refusal(two.folder, STEP, prefill=STEP, embed=EMBED)
    message = f"repo/{PREFILL}: W282 it has no cache"
    assert message in refusal(two.folder, PREFILL, prefill=PREFILL, embed=EMBED)
    assert "always has 1 rows, and a text any number" in refusal(two.folder, STEP, embed=EMBED)


@pytest.mark.slow
def test_a_prefill_of_ids_takes_no_speech(two, tmp_path):
    """Its step may take embeddings: those of the tokens come from the file that embeds."""
    folder = edit(two, tmp_path, None, None)
    export_decoder(two.model, folder / PREFILL, cached=False)
    facts = facts_of(folder, STEP, **BOTH)
    assert [*facts.methods["generate"].inputs] == ["prompt"]
    assert facts.missing_reasons["embeds"].startswith(f"repo/{PREFILL}: it takes input_ids alone")
    lm = load(folder, STEP, **BOTH)
    assert ids_of(lm.generate(prompt=IDS, max_tokens=24)) == two.ids


def test_files_beside_the_graph_and_two_copies(two, tmp_path):
    """The tokenizer may be in a folder of its own."""
    folder = edit(two, tmp_path / "repo", None, None)
    write_folder(two.model, folder / "tokenizer", **STOP)
    for name in ("tokenizer.json", "config.json"):
        (folder / name).unlink()
    config = OnnxDecoderFile.Config(
        prefill=PREFILL.removeprefix("onnx/"), embed=EMBED.removeprefix("onnx/")
    )
    source = Location("repo", "", folder)
    facts = OnnxDecoderFile.facts(
        Spec("decoder", config, source / STEP, source / "tokenizer"), Headers()
    )
    (text,) = facts.casts
    assert text.startswith("its weights are there twice: ")
    assert f"MB in repo/{PREFILL} and" in text

"""Published decoders give the logits and the greedy ids of transformers, in each precision."""

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import composer
from composer.core.errors import ComposerError
from tests.components.gemma4_models import ROWS
from tests.components.gemma4_models import torch_model as gemma4_model
from tests.components.mlx_lm.models import IDS, greedy_of_torch, torch_model
from tests.components.onnx_decoder.loading import EMBED, MODEL, load, write_folder
from tests.components.onnx_graphs import save as save_graph
from tests.components.onnx_graphs import value
from tests.components.onnx_lm.loading import logits_of_torch, separate_store
from tests.models.onnx_exports import (
    edited,
    export_decoder,
    export_embedding,
    export_placing,
    pack_q4,
)
from tests.streams import ids_of

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE, FAR = 1e-4, 1e-2
HALF = 5e-3  # of what is multiplied in float16
LONG = np.random.default_rng(0).integers(3, ROWS, 30)


def greedy(lm, count=24, **prompt):
    return ids_of(lm.generate(**prompt, max_tokens=count))


@pytest.mark.parametrize("file", ["onnx/model.onnx", "onnx/model_q4.onnx"])
def test_it_gives_the_logits_and_ids_of_transformers(qwen3, file):
    """The file of 4 bits is compared with the same codes, widened."""
    lm = load(qwen3.folder, file)
    assert separate_store(lm.logits(prompt=IDS), qwen3.logits) < CLOSE
    assert greedy(lm, prompt=IDS) == qwen3.ids
    assert separate_store(lm.replay(prompt=IDS[:5], ids=IDS[5:]), qwen3.logits[4:-1]) < CLOSE


def test_rounded_activations_are_near_and_not_the_same(qwen3, tmp_path):
    """accuracy_level 4 multiplies in int8, as most published files of 4 bits ask for."""
    write_folder(qwen3.model, tmp_path)
    (tmp_path / "onnx").mkdir()
    pack_q4(qwen3.file, qwen3.codes, tmp_path / "onnx/model.onnx", accuracy_level=4)
    away = separate_store(load(tmp_path).logits(prompt=IDS), qwen3.logits)
    assert 1e-5 < away < 0.05


def test_another_code_is_far_away(qwen3, tmp_path):
    write_folder(qwen3.model, tmp_path)
    target = pack_q4(qwen3.file, qwen3.codes, tmp_path / "model.onnx")

    def change(graph):
        *_, found = (each for each in graph.initializer if each.name.endswith("_scales"))
        found.raw_data = (np.frombuffer(found.raw_data, np.float32) * 1.5).tobytes()

    edited(target, tmp_path / "onnx/model.onnx", change)
    assert separate_store(load(tmp_path).logits(prompt=IDS), qwen3.logits) > FAR


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_a_prompt_is_read_in_parts(qwen3, lm, rows):
    lm.decoder.chunk = rows
    assert greedy(lm, prompt=IDS) == qwen3.ids


def swap(graph, first, second):
    names = {first: second, second: first}
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = names.get(name, name)


WRONG = {
    "a cache of another layer": lambda graph: swap(
        graph, "past_key_values.0.key", "past_key_values.1.key"
    ),
    "keys for values": lambda graph: swap(
        graph, "past_key_values.0.key", "past_key_values.0.value"
    ),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wrong_cache_is_far_away(qwen3, tmp_path, change):
    write_folder(qwen3.model, tmp_path)
    edited(qwen3.file, tmp_path / "onnx/model.onnx", change)
    lm = load(tmp_path)
    found = lm.replay(prompt=IDS[:5], ids=IDS[5:])
    assert separate_store(found[:1], qwen3.logits[4:5]) < CLOSE  # nothing is cached yet
    assert separate_store(found, qwen3.logits[4:-1]) > FAR


def test_positions_off_by_one_are_far_away(qwen3, lm):
    state = lm.decoder.prefill(lm.input(IDS[:8], None, None))
    feeds = lm.decoder.session._feeds

    def late(length, rows, keep):
        return {**(made := feeds(length, rows, keep)), "position_ids": made["position_ids"] + 1}

    lm.decoder.session._feeds = late
    lm.decoder.step([state], IDS[8:9].tolist())
    assert separate_store(state.logits, qwen3.logits[8]) > 1e-3


def test_a_row_that_the_mask_leaves_out_is_missed(qwen3, lm):
    feeds = lm.decoder.session._feeds

    def masked(length, rows, keep):
        made = feeds(length, rows, keep)
        made["attention_mask"][:, 0] = 0
        return made

    lm.decoder.session._feeds = masked
    assert separate_store(lm.logits(prompt=IDS)[1:], qwen3.logits[1:]) > FAR


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
@pytest.mark.parametrize("keep", [True, False])
def test_other_architectures(tmp_path, kind, keep):
    model = torch_model(kind)
    folder = write_folder(model, tmp_path / kind)
    export_decoder(model, folder / "onnx/model.onnx", keep=keep)
    lm = load(folder)
    assert separate_store(lm.logits(prompt=IDS), logits_of_torch(model)) < CLOSE
    assert greedy(lm, prompt=IDS) == greedy_of_torch(model)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_half_precision_is_near(qwen3, packed):
    file = qwen3.folder / f"onnx/half{packed}.onnx"
    export_decoder(copy.deepcopy(qwen3.model).half(), file)
    if packed:
        pack_q4(file, qwen3.codes, file)
    lm = load(qwen3.folder, f"onnx/half{packed}.onnx")
    assert lm.decoder.row_nbytes == 2 * 2 * 2 * 2 * 16  # layers, keys and values, bytes, heads
    assert 0 < separate_store(lm.logits(prompt=IDS), qwen3.logits) < HALF
    assert greedy(lm, prompt=IDS) == qwen3.ids


@pytest.mark.slow
def test_scales_in_float16_are_those_of_their_groups(qwen3, tmp_path):
    """As in q4f16: MatMulNBits with 4 bits and float16, of which another group's scale differs."""
    write_folder(qwen3.model, tmp_path)
    file = export_decoder(copy.deepcopy(qwen3.model).half(), tmp_path / "onnx/plain.onnx")
    packed = pack_q4(file, qwen3.codes, tmp_path / "onnx/model_q4f16.onnx")
    graph = onnx.load(str(packed)).graph
    kinds = {each.name: each.data_type for each in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    assert len(products) == 7 * 2
    assert {kinds[node.input[2]] for node in products} == {onnx.TensorProto.FLOAT16}

    def change(graph):
        *_, found = (each for each in graph.initializer if each.name.endswith("_scales"))
        found.raw_data = np.roll(np.frombuffer(found.raw_data, np.float16), 1).tobytes()

    edited(packed, tmp_path / "onnx/rolled.onnx", change)
    right = load(tmp_path, "onnx/model_q4f16.onnx").logits(prompt=IDS)
    wrong = load(tmp_path, "onnx/rolled.onnx").logits(prompt=IDS)
    assert separate_store(right, qwen3.logits) < HALF < separate_store(wrong, qwen3.logits)


def gemma4(folder, mixed, kind="e2b"):
    """Write Gemma-4's two graphs with one meaning of per_layer_inputs."""
    model = gemma4_model(kind)
    write_folder(model, folder)
    export_decoder(model, folder / MODEL, embeds=True, mixed=mixed, keep=True)
    per_layer = 0 if kind == "31b" else 3 if mixed else 4
    export_embedding(model, folder / EMBED, per_layer)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [False, True], ids=["rows", "mixed"])
def test_gemma_4_with_either_meaning_of_its_per_layer_inputs(tmp_path, mixed):
    model = gemma4(tmp_path, mixed)
    lm = load(tmp_path, MODEL, embed="onnx/embed_tokens.onnx")
    given = {"embeds": lm.embed(LONG), "per_layer": lm.per_layer(LONG)}
    wanted = logits_of_torch(model, LONG)
    assert separate_store(lm.logits(**given), wanted) < CLOSE
    assert greedy(lm, **given) == greedy_of_torch(model, LONG)
    with torch.no_grad():
        embeds = torch.tensor(given["embeds"])[None]
        rows = model.model.get_per_layer_inputs(torch.tensor(LONG)[None], None)
        other = rows if mixed else model.model.project_per_layer_inputs(embeds, rows)
    meant = other[0].reshape(given["per_layer"].shape).numpy()
    assert separate_store(lm.logits(embeds=given["embeds"], per_layer=meant), wanted) > FAR


@pytest.mark.slow
def test_gemma_4_without_per_layer_inputs(tmp_path):
    model = gemma4(tmp_path, False, "31b")
    lm = load(tmp_path, MODEL, embed="onnx/embed_tokens.onnx")
    embeds = lm.embed(LONG)
    assert separate_store(lm.logits(embeds=embeds), logits_of_torch(model, LONG)) < CLOSE
    assert greedy(lm, embeds=embeds) == greedy_of_torch(model, LONG)
    rows = np.random.default_rng(1).standard_normal((6, 96)).astype(np.float32)
    given = embeds.copy()
    given[4:10] = rows  # as scatter puts them there
    with torch.no_grad():
        wanted = model(inputs_embeds=torch.tensor(given)[None]).logits[0].numpy()
    assert separate_store(lm.logits(embeds=given), wanted) < CLOSE


MARK = 90


@pytest.mark.slow
def test_rows_that_a_graph_puts_in_place(tmp_path):
    model = gemma4_model("e2b")
    write_folder(model, tmp_path, audio_token_id=MARK)
    export_decoder(model, tmp_path / MODEL, embeds=True, mixed=True, keep=True)
    export_placing(model, tmp_path / EMBED, MARK)
    lm = load(tmp_path, MODEL, embed=EMBED)
    ids, at = LONG.copy(), [4, 5, 6, 11]
    ids[ids == MARK] = 3
    ids[at] = MARK
    rows = np.random.default_rng(1).standard_normal((4, 96)).astype(np.float32)
    given = {"embeds": lm.embed(ids, rows), "per_layer": lm.per_layer(ids, rows)}
    with torch.no_grad():
        plain = torch.tensor(np.where(ids == MARK, 0, ids))[None]
        embeds = model.model.embed_tokens(plain)
        embeds[0, at] = torch.tensor(rows)
        layers = model.model.get_per_layer_inputs(plain, None)
        wanted = model(inputs_embeds=embeds, per_layer_inputs=layers).logits[0].numpy()
    assert separate_store(lm.logits(**given), wanted) < CLOSE
    late = lm.embed(np.where(ids == MARK, 0, ids))
    before = lm.per_layer(np.where(ids == MARK, 0, ids))
    late[at] = rows  # the per-layer inputs would not have the rows in them
    assert separate_store(lm.logits(embeds=late, per_layer=before), wanted) > 1e-3
    with pytest.raises(ComposerError, match="audio_features has 3 rows, and 4 ids mark one"):
        lm.embed(ids, rows[:3])
    assert greedy(lm, count=4, **given)


SPEAKS = """composer: 1
name: speaks
sources: {repo: ./repo}
components:
  decoder:
    use: onnx.decoder
    weights: repo/onnx/decoder_model_merged.onnx
    files: repo
    config: {embed: onnx/embed_tokens.onnx}
  projector: {use: onnx.graph, weights: repo/projector.onnx, emits: decoder.embed}
inputs: {ids: ids, at: mask, rows: {type: tensor, port: "f32 N 64"}}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  soft: {run: projector, with: {x: $rows}}
  embeds: {run: scatter, with: {base: $words, at: $at, values: $soft}}
  answer: {run: decoder.generate, with: {embeds: $embeds, max_tokens: 12}}
outputs: {ids: $answer.ids}
"""


@pytest.mark.slow
def test_rows_of_speech_are_scattered_into_embeddings(tmp_path):
    model = torch_model(num_hidden_layers=2)
    write_folder(model, tmp_path / "repo")
    export_decoder(model, tmp_path / "repo" / MODEL, embeds=True)
    export_embedding(model, tmp_path / "repo" / EMBED)
    form = ("f32", [1, "n", 64])
    copied = helper.make_node("Identity", ["x"], ["y"])
    save_graph(tmp_path / "repo/projector.onnx", [copied], [value("x", *form)], [value("y", *form)])
    (tmp_path / "bundle.yaml").write_text(SPEAKS)
    rows = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    at = np.isin(np.arange(len(IDS)), [3, 4, 5, 9])
    with composer.load(tmp_path) as bundle:
        found = bundle.run(ids=IDS, at=at, rows=rows, taps=["embeds"]).outputs["ids"]
        other = bundle.run(ids=IDS, at=np.roll(at, 1), rows=rows).outputs["ids"]
    embeds = model.get_input_embeddings().weight.detach()[IDS].clone()
    embeds[torch.tensor(at)] = torch.tensor(rows)
    wanted = []
    for _ in range(12):
        with torch.no_grad():
            wanted.append(int(model(inputs_embeds=embeds[None]).logits[0, -1].argmax()))
        embeds = torch.cat([embeds, model.get_input_embeddings().weight.detach()[wanted[-1:]]])
    assert found.tolist() == wanted
    assert other.tolist() != wanted

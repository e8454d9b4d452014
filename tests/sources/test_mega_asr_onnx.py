"""A twin of Mega-ASR's GPTQ repository: three graphs of 4 bits, and one that embeds."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import composer
from composer.cli import main
from tests import replica
from tests.components.mlx_lm.models import torch_model
from tests.components.onnx_decoder.loading import write_folder
from tests.models.onnx_exports import (
    calibrated_q4,
    edited,
    export_decoder,
    export_embedding,
    pack_q4,
)
from tests.reference.qwen3_asr import RATE, make_clip
from tests.sources.checkpoints import files_of

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
NAME, ROWS, TOKENS = "Reza2kn/mega-asr-onnx", 400, 12
STEP, PREFILL = "onnx/decoder_step_int4.onnx", "onnx/decoder_prefill_int4.onnx"


def write_encoder(path, kernel):
    """Write an encoder of one convolution: chunks of 100 frames, each 13 rows [1, T, D]."""
    stored = {
        "kernel": kernel, "mels": np.array([128, -1, 100]), "rows": np.array([1, -1, len(kernel)]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Reshape", ["input_features", "mels"], ["apart"]),
        helper.make_node("Transpose", ["apart"], ["chunks"], perm=[1, 0, 2]),
        helper.make_node("Conv", ["chunks", "kernel"], ["heard"], strides=[8], pads=[0, 4]),
        helper.make_node("Transpose", ["heard"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["turned", "rows"], ["audio_embeds"]),
    ]
    flow = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "encoder",
        [flow("input_features", TensorProto.FLOAT, [1, 128, "n_frames"])],
        [flow("audio_embeds", TensorProto.FLOAT, [1, "n_rows", len(kernel)])],
        [numpy_helper.from_array(each, name) for name, each in stored.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gptq") / "repo"
    model = torch_model(num_hidden_layers=2, vocab_size=ROWS, eos_token_id=ROWS - 1)
    codes = calibrated_q4(model)
    write_folder(model, folder, model_type="qwen3_asr")
    replica.tokenizer(folder)
    for name, cached in ((STEP, True), (PREFILL, False)):
        plain = export_decoder(model, folder / name, embeds=True, cached=cached)
        packed = onnx.load(str(pack_q4(plain, codes, plain)))
        where = f"{Path(name).name}.data"
        onnx.save(packed, str(plain), save_as_external_data=True, location=where)
    export_embedding(model, folder / "onnx/embed_tokens.onnx")
    width = model.config.hidden_size
    kernel = np.random.default_rng(6).standard_normal((width, 128, 8), np.float32) / 32
    write_encoder(folder / "onnx/audio_encoder_int4.onnx", kernel)
    return model, folder


def test_it_is_checked_run_and_locked(published, hub, new_process, tmp_path, capsys):
    model, folder = published
    mirror = hub({NAME: files_of(folder)})
    assert main(["check", NAME]) == 0
    for name in (STEP, PREFILL):
        assert not mirror.requests_of(f"{name}.data")
    assert main(["plan", NAME]) == 0
    assert "cast  decoder: its weights are there twice: " in capsys.readouterr().out
    given = {
        "audio": (make_clip(1.3), RATE), "taps": True, "options": {"answer": {"max_tokens": TOKENS}}
    }  # fmt: skip
    with composer.load(NAME) as bundle:
        taps = bundle.run(**given).taps
    asked, soft = taps["asked.ids"], taps["soft"]
    assert len(soft) == 13 + 4 == int(taps["asked.slots"].sum())
    with torch.no_grad():
        embeds = model.model.embed_tokens(torch.tensor(asked))
        embeds[torch.tensor(taps["asked.slots"])] = torch.tensor(soft)
        np.testing.assert_allclose(taps["embeds"], embeds.numpy(), atol=1e-6)
        want = model.generate(inputs_embeds=embeds[None], max_new_tokens=TOKENS, do_sample=False)
    found = taps["answer.ids"].tolist()
    assert len(found) > 4
    assert found == want[0].tolist()[: len(found)]
    shutil.copy(Path("bundles/mega-asr-onnx.yaml"), tmp_path / "bundle.yaml")
    assert main(["lock", str(tmp_path)]) == 0
    locked = json.loads((tmp_path / "bundle.lock").read_text())
    assert f"{PREFILL}.data" in json.dumps(locked)
    new_process(offline=True)
    with composer.load(tmp_path) as bundle:
        assert bundle.run(**given).taps["answer.ids"].tolist() == found


def test_a_prefill_of_ids_is_refused_with_what_to_do(published, hub, tmp_path):
    model, folder = published
    changed = tmp_path / "repo"
    shutil.copytree(folder, changed)
    export_decoder(model, changed / PREFILL, cached=False)
    mirror = hub({NAME: files_of(changed)})
    report = composer.check(NAME)
    texts = [str(problem) for problem in report.problems]
    reason = f"repo/{PREFILL}: it takes input_ids alone, so that no row of speech"
    assert any(
        reason in text and "that takes an export with inputs_embeds" in text for text in texts
    )
    assert not mirror.requests_of(f"{STEP}.data")


def test_an_encoder_of_another_name_is_named(published, hub, tmp_path):
    def rename(graph):
        graph.input[0].name = graph.node[0].input[0] = "mel"

    changed = tmp_path / "repo"
    shutil.copytree(published[1], changed)
    file = changed / "onnx/audio_encoder_int4.onnx"
    edited(file, file, rename)
    hub({NAME: files_of(changed)})
    report = composer.check(NAME)
    assert not report.ok
    assert any("input_features" in str(problem) for problem in report.problems)

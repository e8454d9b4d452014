"""Small checkpoints of random weights, in the layouts that repositories without a manifest have."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from composer.core.component import ComponentConfig, Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from composer.formats.vocab_merges import QWEN2
from tests import releases, replica
from tests.components import gemma4_models
from tests.components.chat_templates import CHATML_END, CHATML_TURN, LOOP
from tests.components.mlx_lm.models import torch_model
from tests.components.onnx_decoder.genai import write_genai
from tests.components.onnx_decoder.loading import EMBED, MODEL, write_folder
from tests.formats.test_gguf_tokenizer import byte_level, byte_level_metadata
from tests.models import gguf_files
from tests.models.backends import family
from tests.models.decoders import save, their_greedy
from tests.models.onnx_exports import (
    export_decoder,
    export_embedding,
    export_vision,
    pack_q4,
    rounded_to_q4,
    write_speech,
)
from tests.models.test_gguf import KINDS, build
from tests.reference import llama_cpp
from tests.reference.elderwise import SPECIAL
from tests.reference.gemma4_audio import MORE
from tests.reference.gemma4_vision import Gemma4Vision
from tests.reference.qwen3_asr import make_model, make_tokenizer
from tests.reference.test_qwen3_asr_released import release

TEMPLATE = LOOP + CHATML_TURN + CHATML_END
PROMPT = "<|im_start|>user\nthe names<|im_end|>\n<|im_start|>assistant\n"
PRECISIONS = ("model.onnx", "model_fp16.onnx", "model_q4.onnx", "model_q4f16.onnx")
MARKS = (*SPECIAL, *MORE)
GEMMA, ENCODERS = "gemma-4-it-Q8_0.gguf", "mmproj-gemma-4-it-BF16.gguf"
PICTURE = np.random.default_rng(4).integers(0, 256, (300, 420, 3), np.uint8)


def with_tokenizer(folder, tokenizer):
    """Write a tokenizer, and the chat template of its checkpoint."""
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))


def lm(folder):
    """Write a Qwen3 as Qwen publishes it; return what transformers answers."""
    tokenizer = byte_level(QWEN2, False, True)
    model = build("qwen3", vocab_size=tokenizer.get_vocab_size())
    save(model, folder)
    with_tokenizer(folder, tokenizer)
    return their_greedy(model, tokenizer.encode(PROMPT).ids, count=8)


def qwen3_gguf(folder, **more):
    """Write Tiny-Q8_0.gguf into a folder, or its parts; return what transformers answers."""
    tokenizer = byte_level(QWEN2, False, True)
    metadata = byte_level_metadata(tokenizer, "qwen2")
    model = build("qwen3", vocab_size=len(metadata["tokens"]))
    folder.mkdir(exist_ok=True)
    meant = gguf_files.write(
        save(model, folder.with_name("lm")),
        folder / "Tiny-Q8_0.gguf",
        "qwen3",
        KINDS["q8_0"],
        tokenizer=metadata,
        chat_template=TEMPLATE,
        **more,
    )
    model.load_state_dict({n: torch.tensor(v) for n, v in meant.items()}, strict=False)
    return their_greedy(model, tokenizer.encode(PROMPT).ids, count=8)


def qwen3_asr(folder, model, tokenizer):
    """Write a Qwen3-ASR as Qwen publishes it."""
    release(folder, model, tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen3_asr"}))
    return folder


def of_q8_0(name):
    """Return the type of a tensor of Qwen3-ASR in Q8_0: convolutions stay as they are."""
    return "f32" if "conv2d" in name else "q8_0"


def qwen3_asr_gguf(folder):
    """Write a Qwen3-ASR in llama.cpp's two files; return its tokenizer and transformers' model."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    folder.mkdir(exist_ok=True)
    llama_cpp.write_qwen3_asr(model, tokenizer.backend_tokenizer, folder, of_q8_0)
    return tokenizer, model


def keep_tensors(folder, wanted):
    """Leave in a folder the tensors alone whose name, without "model.", `wanted` is true of."""
    file = folder / "model.safetensors"
    state = {n: value for n, value in load_file(file).items() if wanted(n.removeprefix("model."))}
    save_file(state, file, metadata={"format": "pt"})


def onnx_lm(folder):
    """Write a Qwen3 in onnx-community's layout; return what transformers answers."""
    tokenizer = byte_level(QWEN2, False, True)
    sizes = {"num_hidden_layers": 2, "eos_token_id": 2}
    model = torch_model(**sizes, vocab_size=tokenizer.get_vocab_size())
    codes = rounded_to_q4(model)
    write_folder(model, folder)
    with_tokenizer(folder, tokenizer)
    plain = export_decoder(model, folder / "onnx/model.onnx")
    pack_q4(plain, codes, folder / "onnx/model_q4.onnx")
    for name, source in zip(PRECISIONS[1::2], PRECISIONS[::2], strict=True):
        shutil.copy(folder / "onnx" / source, folder / "onnx" / name)  # its header is what is read
    onnx.save(
        onnx.load(str(plain)), str(plain), save_as_external_data=True, location="model.onnx_data"
    )
    return their_greedy(model, tokenizer.encode(PROMPT).ids, count=8)


def keep_graphs(folder, names):
    """Leave the files of these names alone in a folder's onnx."""
    for path in (folder / "onnx").iterdir():
        if path.name not in names:
            path.unlink()


def onnx_genai(folder):
    """Write a Llama as onnxruntime-genai does; return transformers' model and its tokenizer."""
    tokenizer = byte_level(QWEN2, False, True)
    sizes = {"num_hidden_layers": 2, "eos_token_id": 2}
    model = torch_model("llama", **sizes, vocab_size=tokenizer.get_vocab_size())
    write_genai(model, folder)
    with_tokenizer(folder, tokenizer)
    return model, tokenizer


def in_four_precisions(folder):
    """Copy every graph to the names of the other precisions, whose headers are what is read."""
    for file in [*(folder / "onnx").iterdir()]:
        for other in ("_fp16", "_q4", "_q4f16"):
            shutil.copy(file, file.with_stem(file.stem + other))


def onnx_gemma4(folder):
    """Write the graphs of a Gemma-4's decoder alone; return transformers' model."""
    words = {"vocab_size": 300, "vocab_size_per_layer_input": 300}
    model = gemma4_models.torch_model("e2b", **words)
    write_folder(model, folder, model_type="gemma4")
    replica.tokenizer(folder, releases.GEMMA_SPECIALS)
    export_decoder(model, folder / MODEL, embeds=True, keep=True)
    export_embedding(model, folder / EMBED, per_layer=4)
    in_four_precisions(folder)
    return model


def onnx_gemma4_speech(folder):
    """Write all four graphs of a Gemma-4; return transformers' whole model."""
    theirs = Gemma4Vision("e2b", audio=True, patch_size=16)
    theirs.processor = Gemma4ImageProcessorPil()
    whole, home = theirs.model.model, folder.parent
    text = gemma4_models.torch_model("e2b", **theirs.words, max_position_embeddings=1024)
    text.model.load_state_dict(whole.language_model.state_dict())
    write_folder(text, folder, model_type="gemma4")
    theirs.tokenizer.save(str(folder / "tokenizer.json"))
    export_decoder(text, folder / MODEL, embeds=True, keep=True)
    export_embedding(text, folder / EMBED, per_layer=4)
    made = theirs.features(PICTURE)
    true = (made["image_position_ids"][0] >= 0).all(-1)
    patches = [made[name][:, true] for name in ("pixel_values", "image_position_ids")]
    export_vision(whole, folder / "onnx/vision_encoder.onnx", patches)
    kind = family("gemma4_audio", "onnx")
    theirs.write(home / "release")
    spec = Spec("speech", ComponentConfig(), Location("release", "", home / "release"))
    tower = kind.load(spec, kind.facts(spec, Headers()), Placement())
    write_speech(tower, home, folder / "onnx/audio_encoder.onnx")
    in_four_precisions(folder)
    return theirs


class Gemma4(Gemma4Vision):
    """The whole model, with a tokenizer that a GGUF file can hold."""

    make_tokenizer = staticmethod(llama_cpp.gemma_tokenizer)


def gemma4_gguf(folder, kind, encoders=True):
    """Write a Gemma-4 in llama.cpp's files; return the model that they stand for."""
    theirs = Gemma4(kind, audio=kind == "e2b", patch_size=16)
    theirs.processor = Gemma4ImageProcessorPil()
    folder.mkdir(exist_ok=True)
    _write_decoder(theirs, folder / GEMMA)
    if encoders:
        _write_encoders(theirs, folder / ENCODERS)
    return theirs


def _write_decoder(theirs, file):
    """Write the decoder's file, and give the model the weights that it stands for."""
    language = theirs.model.model.language_model
    state = {f"model.{name}": value for name, value in language.state_dict().items()}
    config = gemma4_models.config_of(language, theirs.kind)
    tokenizer = llama_cpp.tokenizer_metadata(theirs.tokenizer, MARKS)
    meant = llama_cpp.write_text(state, config, file, lambda name: "q8_0", **tokenizer)
    language.load_state_dict({name.removeprefix("model."): each for name, each in meant.items()})
    theirs.model.tie_weights()


def _write_encoders(theirs, file):
    """Write the file of the encoders, and give the model the weights that it stands for."""
    state = {name: value for name, value in theirs.towers().items() if "rel_pos" not in name}
    configs, width = theirs.tower_configs(), gemma4_models.WIDTH
    meant = llama_cpp.write_mmproj(state, configs, width, file, lambda name: "bf16")
    theirs.model.load_state_dict(meant, strict=False)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, as the test hub publishes them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

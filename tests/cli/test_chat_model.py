"""Conversations with a tiny Qwen3 of random weights, through the command line."""

import gc
import json
import re
import weakref

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models

from composer.components.mlx.decoder import MlxLmDecoder
from tests.fakes import write

TURN = "<|turn>user\\n{text}<turn|>\\n<|turn>model\\n"
MODEL = f"""\
composer: 1
name: tiny-chat
sources: {{repo: ./}}
components:
  turn:
    use: text.chat
    files: repo/lm
    config: {{first: "<bos>{TURN}", next: "<turn|>\\n{TURN}", reasoning: ["<|aside>", "<aside|>"]}}
  decoder: {{use: mlx.lm, weights: repo/lm}}
inputs: {{text: text, history: {{type: ids, default: []}}}}
graph:
  asked:  {{run: turn, with: {{text: $text, history: $history}}}}
  words:  {{run: decoder.embed, with: {{ids: $asked.ids}}}}
  answer:
    run: decoder.generate
    with: {{embeds: $words, max_tokens: 9, reuse_cache: true, reasoning: ["<|aside>", "<aside|>"]}}
  so_far: {{run: turn.history, with: {{asked: $asked.ids, answer: $answer.ids}}}}
outputs: {{text: $answer.text, history: $so_far}}
"""
CONTROL = ["<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", "<|aside>", "<aside|>"]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz <>|/?\n"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A Qwen3 of random weights over letters."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "lm").mkdir()
    size = len(CONTROL) + len(LETTERS)
    torch.manual_seed(3)
    config = transformers.Qwen3Config(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=96,
        initializer_range=0.3, eos_token_id=4, bos_token_id=2, tie_word_embeddings=True,
    )  # fmt: skip
    state = transformers.Qwen3ForCausalLM(config).state_dict()
    state.pop("lm_head.weight")
    save_file(state, folder / "lm" / "model.safetensors", metadata={"format": "mlx"})
    messages = json.loads(config.to_json_string())
    (folder / "lm" / "config.json").write_text(
        json.dumps({"rope_theta": 10000.0, **{k: v for k, v in messages.items() if v is not None}})
    )
    vocabulary = {token: id for id, token in enumerate([*CONTROL, *LETTERS])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(CONTROL)
    tokenizer.save(str(folder / "lm" / "tokenizer.json"))
    return write(folder, MODEL)


def test_a_kept_cache_changes_no_answer(piped, tiny, monkeypatch):
    genuine, read, states = MlxLmDecoder.prefill_parts, [], []

    def counted(self, prompt, cache=None):
        read.append(len(prompt))
        state = yield from genuine(self, prompt, cache)
        states.append(weakref.ref(state.cache))
        return state

    monkeypatch.setattr(MlxLmDecoder, "prefill_parts", counted)
    lines = "hi\nwho\n<turn|>\n"
    code, new_process, err = piped(tiny, lines, "--set", "answer.reuse_cache=false")
    assert (code, len(new_process.splitlines())) == (0, 3), err
    whole = list(read)
    read.clear()
    assert piped(tiny, lines)[:2] == (0, new_process)
    assert len(set(new_process.splitlines())) == 3
    assert read[0] == whole[0]
    assert all(new < old / 2 for new, old in zip(read[1:], whole[1:], strict=True))
    gc.collect()
    assert [state() for state in states] == [None] * 6  # closed with the bundle


def test_a_conversation_that_is_too_long_is_reported_and_continues(piped, tiny):
    """It has 96 positions: the long turn is forgotten, and the next one is as without it."""
    code, out, err = piped(tiny, f"hi\n{'a' * 90}\nwho\n")
    assert code == 5
    assert "R514 the prompt has 1" in err
    short = piped(tiny, "hi\nwho\n")[1].splitlines()
    assert out.splitlines() == [short[0], "", short[1]]


def test_the_manifest_of_a_conversation_is_sound(cli, tiny):
    code, out, err = cli("check", tiny)
    assert (code, err) == (0, "")
    assert re.match(r"tiny-chat: ok, 4 nodes, 1 task", out)

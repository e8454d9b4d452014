"""Group F: hostile tokenizers and configs, as files of a bundle that is checked."""

import json
import shutil

import pytest

from composer.sources.shipped import shipped
from tests.formats.test_tokenizer import BAD, tokenizer
from tests.hostile.making import PROMPT, bundle

FILE = "tokenizer/tokenizer.json"
MINI = shipped("bundles") / "mega-asr-mini"


def test_the_bundle_itself_is_sound(cli, tmp_path):
    assert cli("check", bundle(tmp_path, PROMPT, {FILE: tokenizer()}))[0] == 0


@pytest.mark.parametrize(("data", "text"), BAD.values(), ids=BAD)
def test_tokenizers_are_refused(refused, tmp_path, data, text):
    """F1 to F3 and F6: seen before the tokenizers library, which panics or aborts, opens them."""
    place, code, why = text.splitlines()[0].split(" ", 2)
    said = refused(bundle(tmp_path, PROMPT, {FILE: data}), f"repo/{FILE}")
    assert f"{code} {place.replace('repo/m', f'repo/{FILE}')} {why}" in said


@pytest.fixture
def mini(tmp_path):
    """Copy the miniature, whose tokenizer and config are then changed."""
    folder = tmp_path / "mini"
    shutil.copytree(MINI, folder, ignore=shutil.ignore_patterns("clips"))

    def change(name, edit):
        path = folder / name
        content = json.loads(path.read_bytes())
        edit(content)
        path.write_text(json.dumps(content))
        return folder

    return change


def test_f4_more_tokens_than_the_decoder_has_rows(refused, mini):
    def edit(content):
        content["added_tokens"].append(
            {**content["added_tokens"][-1], "id": 5000, "content": "<|far|>"}
        )

    said = refused(mini(FILE, edit), "repo/tokenizer")
    assert "5000" in said


def test_f5_the_slot_of_the_audio_is_missing(refused, mini):
    def edit(content):
        (token,) = [t for t in content["added_tokens"] if t["content"] == "<|audio_pad|>"]
        token["content"] = "<|audio_pod|>"

    assert "<|audio_pad|>" in refused(mini(FILE, edit), "bundle.yaml")


def test_f7_half_a_surrogate_pair_in_a_text(cli, tmp_path):
    folder = bundle(tmp_path, PROMPT, {FILE: tokenizer()})
    code, out, err = cli("run", folder, "-i", "text=a\ud800b")
    assert code in (2, 5)
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    ("entry", "code", "exit_code"),
    [
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "S471 warning", 0),
        ({"trust_remote_code": True}, "S471 warning", 0),
        ({"_attn_implementation_internal": "evil/kernel"}, "S471 warning", 0),
        ({"model_file": "modeling.py"}, "S470", 3),
    ],
)
def test_f8_a_config_that_asks_to_run_code(cli, mini, entry, code, exit_code):
    folder = mini("mlx/llm-mixed8_4/config.json", lambda content: content.update(entry))
    got, _, err = cli("check", folder)
    assert got == exit_code
    assert code in err
    assert next(iter(entry)) in err


def test_f9_a_chat_template_is_never_rendered(cli, tmp_path):
    """Nothing reads one: templates are text with slots, in the manifest."""
    bomb = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"
    config = json.dumps({"chat_template": bomb}).encode()
    files = {
        FILE: tokenizer(),
        "tokenizer/tokenizer_config.json": config,
        "tokenizer/chat_template.jinja": bomb.encode(),
    }
    assert cli("run", bundle(tmp_path, PROMPT, files), "-i", "text=ab")[0] == 0


def test_f10_an_end_that_is_outside_the_vocabulary(refused, mini):
    folder = mini("mlx/llm-mixed8_4/config.json", lambda c: c.update(eos_token_id=10**6))
    assert "eos_token_id 1000000 is outside the vocabulary" in refused(folder, "config.json")


@pytest.mark.slow
def test_f10_an_end_that_is_never_said_is_none(cli, mini):
    """Then max_tokens ends the answer."""
    folder = mini("mlx/llm-mixed8_4/config.json", lambda c: c.update(eos_token_id=0))
    clip = next((MINI / "clips").glob("*.flac"))
    manifest = folder / "bundle.yaml"
    manifest.write_text(manifest.read_text().replace("max_tokens: 128", "max_tokens: 12"))
    code, out, err = cli("run", folder, "-i", f"audio={clip}", "--json")
    assert code == 0, err
    assert json.loads(out)["finish_reason"] == "length"

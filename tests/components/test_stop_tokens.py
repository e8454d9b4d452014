"""Tokens that end a text and that the tokenizer lacks are known before a bundle is loaded."""

import json
import shutil

import pytest

import composer
from composer.cli import main
from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "elderwise-mini"
MEGA = shipped_folder("bundles") / "mega-asr-mini"
FAULTS = {
    "stop: ['<end>']": "stop '<end>' is no token of repo/TOKENIZER; a text of several tokens goes "
    "under stop_text",
    "stop: [1000000]": "stop 1000000 is no id of the model, whose last is LAST",
    "stop: [-1]": "stop -1 is no id of the model, whose last is LAST",
    "reasoning: ['<think>', 5]": "reasoning '<think>' is no token of repo/TOKENIZER",
}
KINDS = {"mlx.lm": MEGA, "onnx.lm": MEGA, "mlx.gemma4": MINI, "onnx.gemma4": MINI}


def copied(source, folder, option=None, kind=None):
    """Copy a bundle, its decoder of a kind, its first `generate` with an option more."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("clips"))
    path = folder / "bundle.yaml"
    text = path.read_text()
    if option:
        text = text.replace("with: {embeds: $embeds, ", f"with: {{embeds: $embeds, {option}, ", 1)
    if kind:
        family = kind.partition(".")[2]
        text = text.replace(f"use: {family}\n", f"use: {kind}\n")
    path.write_text(text)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", FAULTS)
def test_what_a_manifest_names_is_known_at_check(kind, option, tmp_path):
    folder = copied(KINDS[kind], tmp_path / "mini", option, kind)
    found = [problem for problem in composer.check(folder).problems if problem.code == "W216"]
    tokenizer = "decoder/tokenizer.json" if KINDS[kind] == MINI else "tokenizer/tokenizer.json"
    facts = composer.check(folder).bundle.components["decoder"].facts
    last = str(facts.dims["V"].value - 1)
    expected = FAULTS[option].replace("TOKENIZER", tokenizer).replace("LAST", last)
    assert [problem.message for problem in found] == [expected]
    assert found[0].place.line


@pytest.mark.parametrize("option", ["stop: ['<turn|>', 5]", "reasoning: ['<turn|>', '<|turn>']"])
def test_what_the_tokenizer_has_is_taken(option, tmp_path):
    assert composer.check(copied(MINI, tmp_path / "mini", option)).problems == ()


def test_what_a_run_names_is_known_before_it_loads(capsys):
    clip = next((MEGA / "clips").glob("*.flac"))
    code = main(["transcribe", "mega-asr-mini", str(clip), "--set", 'answer.stop=["<end>"]'])
    assert code == 2
    assert capsys.readouterr().err == (
        "R542 'answer': stop '<end>' is no token of repo/tokenizer/tokenizer.json; a text of "
        "several tokens goes under stop_text\n"
    )


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
@pytest.mark.parametrize(("ends", "absent"), [([1, 1036, 1039], "1036, 1039"), (1038, "1038")])
def test_an_end_in_a_row_that_is_no_token_is_warned_of(file, ends, absent, tmp_path):
    """The miniature has 1036 tokens, and four more rows, which it never writes."""
    folder = copied(MINI, tmp_path / "mini")
    (folder / "decoder" / "generation_config.json").unlink()
    place = folder / "decoder" / file
    config = json.loads(place.read_text()) if place.exists() else {}
    place.write_text(json.dumps(config | {"eos_token_id": ends}))
    assert [str(p) for p in composer.check(folder).problems if p.code == "L345"] == [
        f"{folder}/bundle.yaml:28:12: L345 warning: repo/decoder/tokenizer.json: eos_token_id "
        f"{absent} is no token\n"
        "    repo/decoder: embed_tokens.weight [1040, 192]\n"
        "    hint: give the token that ends a text under stop of the node that generates"
    ]

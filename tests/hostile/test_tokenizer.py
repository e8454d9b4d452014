"""Group F: hostile tokenizers and configs, as files of a bundle that is checked."""

import base64
import json
import shutil
import signal
import time

import pytest

import composer
from composer.sources.shipped import shipped_folder
from tests.formats.test_tokenizer import BAD, tokenizer
from tests.hostile.conftest import BUDGET
from tests.hostile.making import PROMPT, bundle

FILE = "tokenizer/tokenizer.json"
MINI = shipped_folder("bundles") / "mega-asr-mini"


def test_the_bundle_itself_is_sound(cli, tmp_path):
    assert cli("check", bundle(tmp_path, PROMPT, {FILE: tokenizer()}))[0] == 0


@pytest.mark.parametrize(("data", "text"), BAD.values(), ids=BAD)
def test_tokenizers_are_refused(error_text, tmp_path, data, text):
    """F1 to F3 and F6: seen before the tokenizers library, which panics or aborts, opens them."""
    place, code, why = text.splitlines()[0].split(" ", 2)
    messages = error_text(bundle(tmp_path, PROMPT, {FILE: data}), f"repo/{FILE}")
    assert f"{code} {place.replace('repo/m', f'repo/{FILE}')} {why}" in messages


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


def test_f4_more_tokens_than_the_decoder_has_rows(error_text, mini):
    def edit(content):
        content["added_tokens"].append(
            {**content["added_tokens"][-1], "id": 5000, "content": "<|far|>"}
        )

    messages = error_text(mini(FILE, edit), "repo/tokenizer")
    assert "5000" in messages


def test_f5_the_slot_of_the_audio_is_missing(error_text, mini):
    def edit(content):
        (token,) = [t for t in content["added_tokens"] if t["content"] == "<|audio_pad|>"]
        token["content"] = "<|audio_pod|>"

    assert "<|audio_pad|>" in error_text(mini(FILE, edit), "bundle.yaml")


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


def test_f10_an_end_that_is_outside_the_vocabulary(error_text, mini):
    folder = mini("mlx/llm-mixed8_4/config.json", lambda c: c.update(eos_token_id=10**6))
    assert "eos_token_id 1000000 is outside the vocabulary" in error_text(folder, "config.json")


@pytest.mark.slow
def test_f10_an_end_that_is_never_generated_is_none(cli, mini):
    """Then max_tokens ends the answer."""
    folder = mini("mlx/llm-mixed8_4/config.json", lambda c: c.update(eos_token_id=0))
    clip = next((MINI / "clips").glob("*.flac"))
    manifest = folder / "bundle.yaml"
    manifest.write_text(manifest.read_text().replace("max_tokens: 128", "max_tokens: 12"))
    code, out, err = cli("run", folder, "-i", f"audio={clip}", "--json")
    assert code == 0, err
    assert json.loads(out)["finish_reason"] == "length"


def edited(**changes):
    """Return a sound tokenizer with parts that were tampered with."""
    content = json.loads(tokenizer())
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            content[key] |= value
        else:
            content[key] = value
    return json.dumps(content).encode()


def compiled(texts):
    """Return a table of SentencePiece that has these texts: an empty trie, and they after it."""
    return base64.b64encode(bytes(4) + "\0".join(texts).encode() + b"\0").decode()


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GROWN = {
    "stacked byte-level pre-tokenizers": edited(
        pre_tokenizer={"type": "Sequence", "pretokenizers": [BYTES] * 26}
    ),
    "stacked byte-level normalizers": edited(
        normalizer={"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 26}
    ),
    "a little in each of two steps": edited(
        normalizer={"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 6},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [BYTES] * 6},
    ),
    "a word without bound": edited(
        model={"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
               "max_input_chars_per_word": 10**9}
    ),
    "spaces around every character, again and again": edited(
        decoder={"type": "Sequence", "decoders": [{"type": "BPEDecoder", "suffix": ""}] * 6}
    ),
    "delimiters that are nothing": edited(
        decoder={"type": "Sequence", "decoders": [
            {"type": "CTC", "pad_token": "q", "word_delimiter_token": "", "cleanup": True}] * 6}
    ),
    "ideographs with spaces around them": edited(
        normalizer={"type": "Sequence", "normalizers": [
            {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": True,
             "strip_accents": False, "lowercase": False}] * 6}
    ),
    "a compiled table of long texts": edited(
        normalizer={"type": "Precompiled", "precompiled_charsmap": compiled(["b" * 300])}
    ),
    "two compiled tables": edited(
        normalizer={"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": compiled(["a", "b" * 17])}] * 2}
    ),
    "merges that are left out at random": edited(model={"dropout": 0.1}),
}  # fmt: skip


@pytest.mark.parametrize("data", GROWN.values(), ids=GROWN)
def test_what_multiplies_is_refused_by_its_product(error_text, tmp_path, data):
    assert "S463 " in error_text(bundle(tmp_path, PROMPT, {FILE: data}), f"repo/{FILE}")


UNTYPED = {
    "decoder": {"suffix": ""},
    "normalizer": {"pattern": {"String": "a"}, "content": "a" * 200},
    "post_processor": {
        "processors": [{"type": "Sequence", "processors": [{}]}],
        "type": "Sequence",
    },
}


@pytest.mark.parametrize(("step", "part"), UNTYPED.items(), ids=UNTYPED)
def test_a_part_whose_type_the_library_would_guess_is_refused(error_text, tmp_path, step, part):
    """Nothing is known of what it multiplies."""
    folder = bundle(tmp_path, PROMPT, {FILE: edited(**{step: part})})
    messages = error_text(folder, f"repo/{FILE}")
    assert f"S460 repo/{FILE}: a part of {step} has no type" in messages


def test_merges_that_are_left_out_at_random_are_refused(error_text, tmp_path):
    folder = bundle(tmp_path, PROMPT, {FILE: edited(model={"dropout": 0.1})})
    assert (
        f"S463 repo/{FILE}: dropout is '0.1': two runs would give other ids; set it to null\n"
    ) in error_text(folder, f"repo/{FILE}")
    for off in (None, 0.0):
        data = edited(model={"dropout": off})
        assert composer.check(bundle(tmp_path, PROMPT, {FILE: data})).ok


def test_thousands_of_added_tokens_of_spaces_are_soon_added(cli, tmp_path):
    spaces = [
        {"id": 1000 + n, "content": " " * (n + 2), "special": False, "normalized": False,
         "lstrip": False, "rstrip": False, "single_word": False}
        for n in range(3000)
    ]  # fmt: skip
    content = json.loads(tokenizer())
    content["added_tokens"] = [*(content.get("added_tokens") or []), *spaces]
    folder = bundle(tmp_path, PROMPT, {FILE: json.dumps(content).encode()})
    began = time.perf_counter()
    assert cli("run", folder, "-i", "text=ab")[0] == 0
    assert time.perf_counter() - began < BUDGET


def test_fragments_times_places_are_bounded_before_they_are_joined(error_text, tmp_path):
    fragment, places = "x" * 50_000 + "{text}", "{o}" * 20_000
    config = f'{{template: "{places}{{text}}", optional: {{o: "{fragment}"}}}}'
    text = PROMPT.replace('{template: "<|audio_pad|>{text}"}', config)
    assert text != PROMPT
    messages = error_text(bundle(tmp_path, text, {FILE: tokenizer()}), "bundle.yaml")
    assert "the template has 1000120001 characters; the limit is 1000000" in messages


def test_a_text_that_stands_often_is_bounded_before_it_is_joined(cli, tmp_path):
    text = PROMPT.replace("<|audio_pad|>{text}", "{text}" * 5000)
    folder = bundle(tmp_path, text, {FILE: tokenizer()})
    code, out, err = cli("run", folder, "-i", f"text={'ab' * 20_000}")
    assert (code, out) == (5, "")
    assert "R524 the prompt has 200000000 characters; the limit is 1000000" in err


class Panic(BaseException):
    """What PyO3 raises where Rust panics."""


def test_a_panic_of_a_native_library_is_a_located_error(cli, tmp_path, monkeypatch):
    def panic(*_, **__):
        raise Panic("called `Option::unwrap()` on a `None` value\nnote: run with RUST_BACKTRACE")

    folder = bundle(tmp_path, PROMPT, {FILE: tokenizer()})
    with monkeypatch.context() as running:
        running.setattr("composer.components.text.guarded_tokenizer.GuardedTokenizer.encode", panic)
        code, out, err = cli("run", folder, "-i", "text=ab")
    assert (code, out) == (5, "")
    assert "R500 prompt failed: Panic: called `Option::unwrap()` on a `None` value\n" in err
    with monkeypatch.context() as loading:
        loading.setattr(
            "composer.components.text.guarded_tokenizer.GuardedTokenizer.__init__", panic
        )
        code, out, err = cli("run", folder, "-i", "text=ab")
    assert (code, out) == (5, "")
    assert "R504 prompt (text.prompt) did not load: Panic: called" in err


@pytest.mark.parametrize("chunk", ["", "AAAA", "/" * 40])
def test_real_panics_of_the_library_are_errors(cli, tmp_path, chunk):
    """Garbage where a compiled table belongs."""
    data = edited(normalizer={"type": "Precompiled", "precompiled_charsmap": chunk})
    code, _, err = cli("run", bundle(tmp_path, PROMPT, {FILE: data}), "-i", "text=a\u00e9b")
    assert code in (0, 3, 5)
    assert "Traceback" not in err


def test_one_clip_whose_text_panics_does_not_stop_the_others(cli, tmp_path, monkeypatch):
    from composer.runtime.bundle import Bundle

    texts = iter(range(9))

    def run(self, **given):
        if next(texts) == 1:
            raise Panic("at the second clip")
        return original(self, **given)

    original = Bundle.run
    folder = bundle(tmp_path, PROMPT, {FILE: tokenizer()})
    with composer.load(folder) as loaded:
        monkeypatch.setattr(Bundle, "run", run)
        found = list(loaded.map([{"text": "ab"}] * 3, in_flight=1))
    assert [isinstance(each, composer.ComposerError) for each in found] == [False, True, False]
    assert "R500" in str(found[1])


@pytest.mark.parametrize("value", [0, -1, 10**9, "8", True, 1.5, [], [64]])
@pytest.mark.parametrize("key", ["num_attention_heads", "num_key_value_heads", "head_dim"])
def test_sizes_that_cannot_be_are_refused_by_file_and_key(error_text, mini, key, value):
    name = "mlx/llm-mixed8_4/config.json"
    messages = error_text(mini(name, lambda content: content.update({key: value})), "config.json")
    assert (
        f"W241 repo/{name}: {key} is {value}; expected a whole number from 1 to 65536" in messages
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("intermediate_size", -5), ("rms_norm_eps", -1), ("rms_norm_eps", "tiny"),
     ("intermediate_size", "wide"), ("rms_norm_eps", 10**9)],
)  # fmt: skip
def test_other_numbers_that_cannot_be(error_text, mini, key, value):
    name = "mlx/llm-mixed8_4/config.json"
    messages = error_text(mini(name, lambda content: content.update({key: value})), "config.json")
    assert f"W241 repo/{name}: {key} is {value}; expected " in messages


@pytest.mark.parametrize("value", [1e300, -1e39, 5e38])
def test_numbers_that_would_become_infinite_are_refused(error_text, mini, value):
    name = "mlx/llm-mixed8_4/config.json"
    messages = error_text(mini(name, lambda content: content.update(rope_theta=value)), name)
    assert (
        f"S413 repo/{name}: the file has the number {value!r}, which float32 does not have"
    ) in messages


def test_what_aborts_in_the_library_is_an_error_here(tmp_path):
    """The very text is first, and only, tokenized in the child."""
    folder = bundle(tmp_path, PROMPT, {FILE: tokenizer()})
    with composer.load(folder) as loaded, composer.load(folder, trust=True) as here:
        kinds = []
        for each in (loaded, here):
            component = each._components.by_name["prompt"]
            kinds.append(type(component.encoder.tokenizer._tokenizer).__name__)
        assert kinds == ["IsolatedTokenizer", "LocalTokenizer"]
        wanted = here.run(text="ab").outputs["ids"]
        assert loaded.run(text="ab").outputs["ids"].tolist() == wanted.tolist()
        library = loaded._components.by_name["prompt"].encoder.tokenizer._tokenizer
        library.child.process.send_signal(signal.SIGABRT)
        with pytest.raises(composer.ComposerError, match=r"tokenizers ended its process"):
            loaded.run(text="ab")


def test_a_decoder_writes_its_text_in_a_child(mini):
    """What the library does with a file ends with that process."""
    folder = mini(FILE, lambda content: content)
    clip = sorted((MINI / "clips").glob("digits*.flac"))[0]
    with composer.load(folder) as loaded, composer.load(folder, trust=True) as here:
        tokenizers = []
        for each in (loaded, here):
            tokenizers.append(each._components.by_name["decoder"].tokenizer)
        kinds = [type(each).__name__ for each in tokenizers]
        assert kinds == ["IsolatedTokenizer", "LocalTokenizer"]
        assert loaded.run(audio=clip).text == here.run(audio=clip).text
        tokenizers[0].child.process.send_signal(signal.SIGABRT)
        with pytest.raises(composer.ComposerError, match=r"tokenizers ended its process"):
            loaded.run(audio=clip)

"""What goes wrong in programs of the same kind, and must not here.

The numbers are those of a survey of mlx-vlm 0.7, mlx-audio 0.6 and mlx-lm 0.32. Each is tested here
on a shipped miniature, or where it is named, or is none that composer could have.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import composer
from composer.core import registry
from composer.sources.shipped import shipped_folder
from tests.miniatures import (
    RATE,
    clips,
    copied,
    elderwise,
    mega,
    noise,
    problems,
    unsplit,
    without_split,
)

__all__ = ["copied", "elderwise", "mega", "unsplit"]

MEGA = shipped_folder("bundles") / "mega-asr-mini"
RUN_PROMPT = {"only": ["mel", "soft", "asked"], "taps": ["soft", "asked.ids", "asked.slots"]}
TESTS = Path(__file__).parent
FILES, GEMMA = "test_peers_files.py", "reference/test_gemma4_audio.py"
FLIGHT = "test_clips_in_flight_are_what_each_is_alone"
TESTED = {
    "1 fewer rows of audio than placeholders": (
        "test_every_length_has_as_many_slots_as_rows",
        "test_one_row_less_is_refused",
        f"{GEMMA}::test_every_stage_is_that_of_transformers",
    ),
    "2 the longer of two clips is padding": (FLIGHT, f"{GEMMA}::{FLIGHT}"),
    "3 clips of unequal length at once fail": (FLIGHT, f"{GEMMA}::{FLIGHT}"),
    "4 a kept prefix shifts the per-layer inputs": (
        "test_a_kept_conversation_says_what_a_new_one_says",
        "components/test_prefix_cache.py::test_one_row_beside_the_embeddings_distinguishes_conversations",
    ),
    "5 a kept prefix answers with the old audio": ("test_kept_rows_are_not_other_audios",),
    "6 audio that the prompt has no place for is ignored": (
        "test_a_prompt_without_a_place_for_speech",
    ),
    "7 audio over 30 s is cut": (
        "test_long_audio_is_transcribed_to_its_end",
        "test_long_audio_is_run_in_pieces_that_hold_all_of_it",
        "test_audio_beyond_what_the_model_takes_is_refused",
        f"{GEMMA}::test_long_audio_is_transcribed_in_pieces_to_its_end",
    ),
    "8 a conversion loses the extractor's settings": (
        "components/test_usm_log_mel.py::test_an_older_preprocessor_has_other_frames",
        f"{GEMMA}::test_one_wrong_setting_is_named",
    ),
    "9 per-layer inputs in 4 bits": (
        "components/test_gemma4.py::test_a_recipe_leaves_what_every_layer_reads",
        "models/test_gemma4_audio.py::test_a_projection_that_mlx_vlm_quantized_is_dequantized",
    ),
    "10 embeddings of the wrong scale, and neighbours of soft rows": (
        "components/test_gemma4.py::test_unscaled_embeddings_fail",
        "components/test_gemma4.py::test_neighbours_are_never_looked_for",
        "components/test_gemma4.py::test_other_rows_where_sound_stands_fail",
        "components/mlx_lm/test_logits.py::test_scaled_embeddings_are_another_space",
    ),
    "11 tensors that are missing, and files that are not the model's": (
        f"{FILES}::test_a_missing_tensor_is_refused",
        f"{FILES}::test_a_stray_file_is_refused_or_not_read",
        "components/mlx_lm/test_loading.py::test_missing_unexpected_and_misshapen_tensors_are_all_named",
    ),
    "12 a code where the model wants a language's name": (
        "test_a_code_is_no_language",
        "components/test_qwen3_asr_text.py::test_refuses_to_force_what_it_does_not_know",
    ),
    "13 options are dropped": (
        "test_no_option_is_dropped",
        "test_an_option_does_what_it_says",
    ),
    "14 one budget of tokens for all pieces": (
        "test_a_piece_that_goes_on_for_ever_leaves_the_others_their_tokens",
        "test_split.py::test_a_piece_that_was_cut_short_makes_the_answer_short",
    ),
    "15 clips in a batch say something else": (FLIGHT,),
    "16 a stream leaves out its first tokens": ("test_a_stream_says_all_of_it",),
    "17 an adapter leaves traces in the weights": ("test_an_adapter_leaves_no_trace",),
    "20 the repository's code is run": (f"{FILES}::test_code_of_the_repository_is_not_run",),
    "21 files are written to": (f"{FILES}::test_no_file_is_written_to",),
    "22 a token that is typed, and options of one call in the next": (
        "test_a_token_that_is_typed_is_text",
        "test_the_options_of_one_run_end_with_it",
        "components/prompt/test_tokens.py::test_what_a_user_types_is_never_a_token",
    ),
    "23 samples without a rate": (
        "test_samples_need_their_rate",
        "test_audio.py::test_refuses_python_values_that_are_no_audio",
    ),
    "24 speeds that hide a part": ("test_bench.py::test_figures",),
    "26 a stream of another thread": (FLIGHT,),
    "27 heavy imports": ("test_architecture.py::test_nothing_heavy_is_imported_before_it_is_used",),
}
NOT_OURS = {
    18: "what a server drops",
    19: "a server that hangs",
    25: "an encoder whose cost is quadratic: no wrong answer",
}


def test_each_is_tested_or_none_of_ours():
    assert sorted([*(int(name.split()[0]) for name in TESTED), *NOT_OURS]) == list(range(1, 28))
    for tests in TESTED.values():
        for test in tests:
            path, _, name = test.rpartition("::")
            text = (TESTS / (path or Path(__file__).name)).read_text()
            assert re.search(rf"^def {name}\(", text, re.M), test


def test_every_length_has_as_many_slots_as_rows(unsplit):
    counts = set()
    for frames in (*range(3200, 16_000, 777), 16_001, 31_999, 32_001, 100_003, 480_001):
        audio = (noise(31)[0][:frames], RATE)
        taps = unsplit.run(audio=audio, **RUN_PROMPT).taps
        counts.add(len(taps["soft"]))
        assert taps["asked.slots"].sum() == len(taps["soft"]) > 0
    assert len(counts) > 10


def test_how_often_a_formula_of_milliseconds_is_off_by_one():
    """Compare ceil(ms / 40) with the rows of Gemma-4's encoder for every millisecond to 30 s."""
    features = registry.component("audio.usm_log_mel")
    config = features.Config()
    lengths = np.arange(100, 30_001)
    frames = (lengths * RATE // 1000 - config.frame // 2 - 1) // config.hop + 1
    rows = (frames + 3) // 4  # two convolutions of stride 2
    expected = (lengths + 39) // 40
    assert set(np.unique(expected - rows)) == {0, 1}
    assert np.mean(expected != rows) == pytest.approx(0.25, abs=5e-4)
    extract = features.load(composer.Spec("features", config), None, None)
    for ms in (100, 101, 119, 4000, 29_990):
        audio = composer.read_audio((noise(30)[0][: ms * RATE // 1000], RATE))
        assert len(extract(audio)) == frames[ms - 100]


def test_one_row_less_is_refused(unsplit):
    made = unsplit.run(audio=noise(1), **RUN_PROMPT).taps
    fed = {name: made[name] for name in ("asked.ids", "asked.slots")}
    codes, messages = problems(unsplit.run, audio=noise(1), feed={**fed, "soft": made["soft"][:-1]})
    assert codes == ["R502"]
    assert "scatter has 12 rows of values for 13 marked positions" in messages


def test_clips_in_flight_are_what_each_is_alone(mega):
    given = [{"audio": clip} for clip in clips("mega-asr-mini")[:4]]
    lengths = {composer.read_audio(each["audio"]).frames for each in given}
    assert len(lengths) == 4
    alone = [mega.run(**each).text for each in given]
    assert len(set(alone)) == 4
    assert [result.text for result in mega.map(given, in_flight=4)] == alone


def test_a_kept_conversation_says_what_a_new_one_says(elderwise):
    keep, history, kept = {"answer": {"reuse_cache": True}}, [], []
    for text in ("What is your name?", "And what day is it today?", "Why?"):
        given = {"task": "chat", "text": text, "history": history}
        result = elderwise.run(options=keep, **given)
        fresh = elderwise.run(**given)
        assert result.outputs["history"].tolist() == fresh.outputs["history"].tolist()
        kept.append(result.text)
        history = result.outputs["history"].tolist()
    assert any(kept)


def test_kept_rows_are_not_other_audios(mega):
    first, second, *_ = clips("mega-asr-mini")
    one, other = (composer.read_audio(clip).resample(RATE).samples for clip in (first, second))
    size = min(len(one), len(other))
    keep = {"answer": {"reuse_cache": True}}
    messages = [mega.run(audio=(each[:size], RATE), options=keep).text for each in (one, other)]
    assert messages == [mega.run(audio=(each[:size], RATE)).text for each in (one, other)]
    assert messages[0] != messages[1]


def test_a_prompt_without_a_place_for_speech(copied):
    path = copied() / "bundle.yaml"
    whole = without_split(path.read_text())
    path.write_text(whole.replace("{speech}", ""))
    assert [p.code for p in composer.check(path).problems] == ["W203"]
    mute = whole.replace("{speech}", "").replace("speech: $soft, ", "")
    path.write_text(mute)
    with composer.load(path) as bundle:
        codes, messages = problems(bundle.run, audio=noise(1))
    assert codes == ["R502"]
    assert "scatter has 13 rows of values for 0 marked positions" in messages
    deaf = re.sub(r"  embeds: .*\n", "", mute).replace("embeds: $embeds", "embeds: $words")
    path.write_text(deaf)
    (warning,) = composer.check(path).problems
    assert str(warning.message) == "$soft is never used"


def test_long_audio_is_transcribed_to_its_end(unsplit):
    whole = noise(40)[0]
    taps = [
        unsplit.run(audio=(part, RATE), only=["mel", "soft"], taps=["soft"]).taps["soft"]
        for part in (whole, whole[: 30 * RATE])
    ]
    assert [len(rows) for rows in taps] == [500, 375]


def test_long_audio_is_run_in_pieces_that_hold_all_of_it(elderwise):
    samples, _ = noise(20)
    samples.reshape(10, -1)[:, RATE * 3 // 2 :] *= 0.01  # half a second of every two is a pause
    given = {"task": "transcribe", "audio": (samples, RATE)}
    run = elderwise.run(**given, only=["mel"], taps=["audio", "mel"])
    pieces = [run.taps[f"{number}/audio"].samples for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(pieces), samples)
    starts = [segment.start for segment in run.segments[1:]]
    np.testing.assert_allclose(starts, [5.75, 13.75], atol=0.04)


def test_audio_beyond_what_the_model_takes_is_refused(copied):
    path = copied("elderwise-mini") / "bundle.yaml"
    path.write_text(without_split(path.read_text()))
    with composer.load(path) as bundle:
        codes, messages = problems(bundle.run, task="transcribe", audio=noise(9.5))
    assert codes == ["R521"]
    assert "<samples> lasts 9.50 s, but the features cover 9 s" in messages


@pytest.mark.parametrize("language", ["en", "zh", "EN", "english", "Klingon"])
def test_a_code_is_no_language(mega, language):
    codes, messages = problems(mega.run, audio=noise(1), language=language)
    assert codes == ["R527"]
    assert f"'{language}' is not a language of this model" in messages


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"prompt": "names"}, "R540"),
        ({"options": {"answer": {"max_token": 3}}}, "R544"),
        ({"options": {"answer": {"top_k": 3}}}, "R542"),
        ({"options": {"anwser": {"max_tokens": 3}}}, "R544"),
    ],
)
def test_no_option_is_dropped(mega, given, code):
    assert problems(mega.run, audio=noise(1), **given)[0] == [code]


def test_an_option_does_what_it_says(mega):
    clip = clips("mega-asr-mini")[0]
    short = mega.run(audio=clip, options={"answer": {"max_tokens": 3}})
    assert (short.tokens, short.finish_reason) == (3, "length")


def test_a_piece_that_goes_on_for_ever_leaves_the_others_their_tokens(elderwise):
    one, other = (
        composer.read_audio(clip).resample(RATE).samples for clip in clips("elderwise-mini")[:2]
    )
    both = np.zeros(18 * RATE, np.float32)
    both[: len(one)], both[9 * RATE :][: len(other)] = one[: 9 * RATE], other[: 9 * RATE]
    few = {"answer": {"max_tokens": 3}}
    alone = [
        elderwise.run(task="transcribe", audio=(part, RATE), options=few)
        for part in np.split(both, 2)
    ]
    whole = elderwise.run(task="transcribe", audio=(both, RATE), options=few)
    assert [result.finish_reason for result in (*alone, whole)] == ["length"] * 3
    assert whole.tokens == 6
    assert whole.text == " ".join(result.text for result in alone)


def test_a_stream_says_all_of_it(mega):
    for language in ("", "English"):
        given = {"audio": clips("mega-asr-mini")[0], "language": language}
        stream = mega.stream(taps=["answer.text"], **given)
        messages = "".join(stream)
        assert messages == stream.result.taps["answer.text"]
        assert mega.run(**given).text in messages
        assert messages.startswith("language ") == (not language)


def test_an_adapter_leaves_no_trace(elderwise):
    def ask():
        return elderwise.run(task="chat", text="What is your name?").outputs["history"].tolist()

    before = ask()
    for _ in range(2):
        elderwise.run(task="transcribe", audio=noise(1), options={"answer": {"max_tokens": 2}})
        assert ask() == before


@pytest.mark.parametrize("typed", ["<|audio_pad|>", "<|im_end|>", "<asr_text>"])
def test_a_token_that_is_typed_is_text(unsplit, typed):
    token = Tokenizer.from_file(str(MEGA / "tokenizer/tokenizer.json")).token_to_id(typed)
    assert token is not None
    plain, taps = (
        unsplit.run(audio=noise(1), context=context, **RUN_PROMPT).taps
        for context in ("names", f"names {typed}")
    )
    assert taps["asked.slots"].sum() == plain["asked.slots"].sum() == len(taps["soft"])
    assert (taps["asked.ids"] == token).sum() == (plain["asked.ids"] == token).sum()
    assert len(taps["asked.ids"]) > len(plain["asked.ids"])


def test_the_options_of_one_run_end_with_it(mega):
    clip = clips("mega-asr-mini")[0]
    before = mega.run(audio=clip)
    first = int(mega.run(audio=clip, taps=["answer.ids"]).taps["answer.ids"][1])
    stopped = mega.run(audio=clip, options={"answer": {"stop": [first], "temperature": 0.7}})
    assert stopped.tokens <= before.tokens
    again = mega.run(audio=clip)
    assert (again.text, again.tokens) == (before.text, before.tokens)


def test_samples_need_their_rate(unsplit):
    samples, _ = noise(1)
    codes, messages = problems(unsplit.run, audio=samples)
    assert codes == ["S481"]
    assert "(samples, rate)" in messages
    rows = [
        len(unsplit.run(audio=(samples, rate), only=["mel", "soft"], taps=["soft"]).taps["soft"])
        for rate in (16_000, 8_000)
    ]
    assert rows == [13, 25]

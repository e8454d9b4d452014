"""The cookbook's bundles give torch's ids, and its stages within 1e-4; wrong ones do not."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import WhisperFeatureExtractor

import composer
from composer import ComposerError
from composer.core import registry
from tests.cookbook.deepstack import DeepStack
from tests.cookbook.making import ALL, LEARNED, MELS, WIDTH, make, manifest

CLIP = np.random.default_rng(0).standard_normal(13_000).astype(np.float32) / 8
PIXELS = np.random.default_rng(1).standard_normal((3, 16, 16)).astype(np.float32)
COUNT = 12
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def deepstack_component():
    registry.register_component(DeepStack)
    yield
    registry.unregister_component(DeepStack.name)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make each bundle once."""
    folder = tmp_path_factory.mktemp("cookbook")
    found = {}

    def get(name):
        if name not in found:
            found[name] = (folder / name, make(name, folder / name))
        return found[name]

    return get


def run(folder, taps=(), change=("", ""), **inputs):
    """Run a bundle, its manifest changed, and return its ids and the values that are asked for."""
    text = (folder / "bundle.yaml").read_text()
    assert change[0] in text
    other = folder / "changed.yaml"
    other.write_text(text.replace(*change))
    assert [p for p in composer.check(other).problems if p.severity == "error"] == []
    with composer.load(other) as bundle:
        result = bundle.run(taps=list(taps), **inputs)
    return result.outputs["ids"].tolist(), result.taps


def close(found, expected):
    expected = expected.detach().numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


def answer(model, embeds):
    """Return the ids that a model of transformers continues rows with."""
    return model.generate(
        inputs_embeds=embeds[None], attention_mask=torch.ones(1, len(embeds), dtype=torch.long),
        max_new_tokens=COUNT, do_sample=False,
    )[0].tolist()  # fmt: skip


def ids_of(folder, text):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids


def joined(model, folder, before, rows, after):
    """Return the embeddings of two texts with rows between."""
    table = model.get_input_embeddings()
    first, last = (
        table(torch.tensor(ids_of(folder, text), dtype=torch.long)) for text in (before, after)
    )
    return torch.cat([first, rows, last])


def features_and_frames(encoder):
    """Return the log-mel and the frames of the clip, by transformers and torch."""
    features = WhisperFeatureExtractor(feature_size=MELS, chunk_length=1)
    mel = torch.tensor(features(CLIP, sampling_rate=16_000)["input_features"][0])
    return mel, encoder(mel[None])[0]


def linear(x, tensors, name):
    return F.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))


def two_layers(frames, tensors, first, last, by=5):
    """Join frames side by side, as SLAM-ASR does, and project them."""
    count = len(frames) // by
    rows = frames[: count * by].reshape(count, by * frames.shape[1])
    return linear(linear(rows, tensors, first).relu(), tensors, last)


def test_every_bundle_of_the_page_is_made():
    for name in ALL:
        assert manifest(name)


@torch.no_grad()
def test_slam_asr(made):
    folder, parts = made("slam-asr")
    mel, frames = features_and_frames(parts["encoder"])
    soft = two_layers(frames, parts["projector"], "0", "2")
    embeds = joined(
        parts["decoder"], folder / "decoder",
        "USER: ", soft, " Transcribe speech to text.\nASSISTANT:",
    )  # fmt: skip
    ids, taps = run(folder, ["mel", "frames", "soft", "embeds"], audio=(CLIP, 16_000))
    for name, expected in (("mel", mel), ("frames", frames), ("soft", soft), ("embeds", embeds)):
        close(taps[name], expected)
    assert ids == answer(parts["decoder"], embeds)
    assert len(set(ids)) > 1


@torch.no_grad()
def test_slam_asr_with_frames_in_another_order(made):
    """What joins frames column by column, or begins at another frame, is not the same."""
    folder, parts = made("slam-asr")
    _, frames = features_and_frames(parts["encoder"])
    _, taps = run(folder, ["soft"], audio=(CLIP, 16_000))
    tensors = parts["projector"]
    count = len(frames) // 5
    turned = frames[: count * 5].reshape(count, 5, -1).transpose(1, 2).reshape(count, -1)
    for rows in (turned, frames.roll(1, 0)[: count * 5].reshape(count, -1)):
        wrong = linear(linear(rows, tensors, "0").relu(), tensors, "2")
        assert np.abs(taps["soft"] - wrong.numpy()).max() > 1e-2


def norm(x, weight):
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-6)


def gated(frames, tensors, gate_second=True):
    """Project as Ultravox does: eight frames a row, zeros at the end, the second half gates."""
    rows = F.pad(frames, (0, 0, 0, -len(frames) % 8)).reshape(-1, 8 * frames.shape[1])
    hidden = linear(norm(rows, tensors["ln_pre.weight"]), tensors, "linear_1")
    first, second = hidden.chunk(2, -1)
    mixed = first * F.silu(second) if gate_second else F.silu(first) * second
    return norm(linear(mixed, tensors, "linear_2"), tensors["ln_post.weight"])


@torch.no_grad()
def test_ultravox(made):
    folder, parts = made("ultravox")
    _, frames = features_and_frames(parts["encoder"])
    assert len(frames) % 8
    soft = gated(frames, parts["projector"])
    embeds = joined(parts["decoder"], folder / "decoder", "Transcribe ", soft, "")
    ids, taps = run(folder, ["soft", "embeds"], audio=(CLIP, 16_000))
    close(taps["soft"], soft)
    close(taps["embeds"], embeds)
    assert ids == answer(parts["decoder"], embeds)


@torch.no_grad()
@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("gate: second", "gate: first"), False),
        (("by: 8, remainder: pad", "by: 8, remainder: drop"), False),
        (("rms_norm_eps: 1.0e-6", "rms_norm_eps: 1.0e-2"), False),
        (("", ""), True),
    ],
)
def test_ultravox_with_another_setting(made, change, same):
    folder, parts = made("ultravox")
    soft = gated(features_and_frames(parts["encoder"])[1], parts["projector"]).numpy()
    _, taps = run(folder, ["soft"], change, audio=(CLIP, 16_000))
    found = taps["soft"]
    assert (found.shape == soft.shape and np.abs(found - soft).max() < 1e-4) == same
    if "gate: first" in change:
        close(
            found,
            gated(features_and_frames(parts["encoder"])[1], parts["projector"], gate_second=False),
        )


@torch.no_grad()
def test_llava(made):
    """Compare with the whole of transformers' LLaVA, which places the rows by itself."""
    folder, parts = made("llava")
    model = parts["llava"]
    patches = model.model.vision_tower(
        torch.tensor(PIXELS)[None], output_hidden_states=True
    ).hidden_states[-2][0, 1:]
    soft = model.model.multi_modal_projector(patches)
    question = "What is it?"
    ids, taps = run(folder, ["patches", "soft", "asked.ids"], pixels=PIXELS, question=question)
    close(taps["patches"], patches)
    close(taps["soft"], soft)
    text = "USER: " + "<image>" * len(patches) + f"\n{question} ASSISTANT:"
    asked = ids_of(folder / "llama", text)
    assert taps["asked.ids"].tolist() == asked
    whole = model.generate(
        input_ids=torch.tensor([asked]), pixel_values=torch.tensor(PIXELS)[None],
        attention_mask=torch.ones(1, len(asked), dtype=torch.long),
        max_new_tokens=COUNT, do_sample=False,
    )  # fmt: skip
    assert ids == whole[0, len(asked) :].tolist()


@torch.no_grad()
def test_llava_with_another_activation_or_picture(made):
    folder, _ = made("llava")
    ids, taps = run(folder, ["soft"], pixels=PIXELS, question="q")
    _, other = run(
        folder, ["soft"], ("linear, gelu,", "linear, gelu_tanh,"), pixels=PIXELS, question="q"
    )
    assert np.abs(taps["soft"] - other["soft"]).max() > 1e-5
    last_first, _ = run(folder, pixels=PIXELS[:, ::-1].copy(), question="q")
    assert ids != last_first


@torch.no_grad()
def test_two_encoders(made):
    folder, parts = made("two-encoders")
    model = parts["llava"]
    _, frames = features_and_frames(parts["encoder"])
    speech = two_layers(frames, parts["projector"], "1", "3")
    patches = model.model.vision_tower(
        torch.tensor(PIXELS)[None], output_hidden_states=True
    ).hidden_states[-2][0, 1:]
    picture = model.model.multi_modal_projector(patches)

    def embeds(first, second):
        rows = joined(model, folder / "llama", "Look: ", first, "\nListen: ")
        return torch.cat(
            [rows, second, joined(model, folder / "llama", "", second[:0], "\nAnswer:")]
        )

    inputs = {"audio": (CLIP, 16_000), "pixels": PIXELS}
    ids, taps = run(folder, ["embeds", "speech", "picture"], **inputs)
    close(taps["speech"], speech)
    close(taps["picture"], picture)
    close(taps["embeds"], embeds(picture, speech))
    assert ids == answer(parts["llama"], embeds(picture, speech))
    assert ids != answer(parts["llama"], embeds(speech, picture))


def test_two_encoders_swapped_are_refused(made):
    folder, _ = made("two-encoders")
    text = (folder / "bundle.yaml").read_text()
    for old, new in (
        ("at: $asked.picture, values: $picture", "at: $asked.picture, values: $speech"),
        ("at: $asked.speech, values: $speech", "at: $asked.speech, values: $picture"),
    ):
        assert old in text
        text = text.replace(old, new)
    other = folder / "swapped.yaml"
    other.write_text(text)
    assert [p.code for p in composer.check(other).problems] == ["W227", "W227"]


@torch.no_grad()
def test_soft_prompt(made, tmp_path):
    """Compare with PEFT's prompt tuning, which puts its rows first by itself."""
    from peft import PromptTuningConfig, TaskType, get_peft_model

    folder, parts = made("soft-prompt")
    text = "Once upon"
    tuned = get_peft_model(
        parts["decoder"],
        PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM, num_virtual_tokens=LEARNED, token_dim=WIDTH
        ),
    )
    tuned.prompt_encoder["default"].embedding.weight.copy_(parts["table"].weight)
    asked = torch.tensor([ids_of(folder / "decoder", text)])
    expected = tuned.eval().generate(
        input_ids=asked, attention_mask=torch.ones_like(asked),
        max_new_tokens=COUNT, do_sample=False,
    )[0, asked.shape[1] :].tolist()  # fmt: skip
    ids, taps = run(folder, ["embeds", "soft"], text=text)
    close(taps["soft"], parts["table"].weight)
    assert ids == expected
    behind, _ = run(folder, (), ("[$soft, $words]", "[$words, $soft]"), text=text)
    reversed_, _ = run(folder, (), ("[0, 1, 2, 3]", "[3, 2, 1, 0]"), text=text)
    assert ids != behind
    assert ids != reversed_


@torch.no_grad()
def test_deepstack(made):
    """Compare with transformers' Qwen3-VL, which adds the rows behind its first layers."""
    folder, parts = made("deepstack")
    rng = np.random.default_rng(2)
    patches = rng.standard_normal((5, 20)).astype(np.float32)
    middle = 8 * rng.standard_normal((2, 5, WIDTH)).astype(np.float32)
    soft = linear(torch.tensor(patches), parts["projector"], "0")
    embeds = joined(parts["model"], folder / "decoder", "", soft, "Why?")

    def expected(deep):
        rows, marks, found = embeds, torch.zeros(len(embeds), dtype=torch.bool), []
        marks[: len(patches)] = True
        for _ in range(COUNT):
            hidden = parts["model"](
                inputs_embeds=rows[None], visual_pos_masks=marks[None],
                deepstack_visual_embeds=[torch.tensor(each) for each in deep], use_cache=False,
            ).last_hidden_state[0, -1]  # fmt: skip
            found.append(int(parts["head"](hidden).argmax()))
            if found[-1] == 1:
                break
            rows = torch.cat([rows, parts["model"].embed_tokens(torch.tensor(found[-1:]))])
            marks = torch.cat([marks, torch.zeros(1, dtype=torch.bool)])
        return found

    inputs = {"patches": patches, "question": "Why?"}
    ids, _ = run(folder, middle=middle, **inputs)
    assert ids == expected(middle)
    for wrong in (middle[::-1].copy(), np.zeros_like(middle)):
        assert run(folder, middle=wrong, **inputs)[0] == expected(wrong) != ids
    with pytest.raises(ComposerError, match="4"):
        run(folder, middle=middle[:, :4], **inputs)

"""The known forms of conversations, as data: what stands around a turn, and how it is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CHECKPOINT = "checkpoint"
FormName = Literal[
    "checkpoint", "chatml", "qwen2", "qwen2_5", "smollm2", "qwen3", "llama3", "llama3_2", "gemma2",
    "gemma3", "gemma4", "mistral", "mistral_spaced", "zephyr", "phi3",
]  # fmt: skip


@dataclass(frozen=True)
class ChatFormat:
    """The turns of a form, in the words of text.chat's config.

    `answer` is what the model's turn begins with where it is not to reason, which is so unless
    asked for otherwise if `reasons` is False. `trimmed` are the slots whose texts lose white space
    at both ends. `digests` are those of published chat templates that
    mean this, in the normal form of `chat_template`.
    """

    first: str
    next: str
    bos: str = ""
    optional: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    trimmed: tuple[str, ...] = ()
    reasoning: tuple[str, str] | None = None
    answer: str = ""
    reasons: bool = True
    digests: tuple[str, ...] = ()


def _chatml(**more: object) -> ChatFormat:
    turn = "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    system = "<|im_start|>system\n{system}<|im_end|>\n"
    known = {"first": f"{{before}}{turn}", "optional": {"before": system}}
    return ChatFormat(**{**known, "next": f"<|im_end|>\n{turn}", **more})  # type: ignore[arg-type]


def _with_system(default: str, *digests: str) -> ChatFormat:
    """Return ChatML with a system turn always, of this text where none is given."""
    first = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n"
    first += "<|im_start|>assistant\n"
    return _chatml(first=first, optional={}, defaults={"system": default}, digests=digests)


def _gemma(before: str, **more: object) -> ChatFormat:
    turn = "{text}<end_of_turn>\n<start_of_turn>model\n"
    return ChatFormat(
        first=f"<bos><start_of_turn>user\n{before}{turn}",
        next=f"<end_of_turn>\n<start_of_turn>user\n{turn}",
        bos="<bos>",
        trimmed=("text",),
        **more,  # type: ignore[arg-type]
    )


def _mistral(between: str, digest: str) -> ChatFormat:
    turn = "[INST] {text} [/INST]"
    return ChatFormat(f"<s>{turn}", f"</s>{between}{turn}", bos="<s>", digests=(digest,))


_HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"
_LLAMA = f"{_HEADER.format('user')}{{text}}<|eot_id|>{_HEADER.format('assistant')}"

FORMS: Mapping[str, ChatFormat] = {
    "chatml": _chatml(
        digests=("89b1d0410fced5c151a58a7d2874457e", "ce4bfc2a52ad756c76a25884b1370454")
    ),
    "qwen2": _with_system("You are a helpful assistant.", "fa3c57d53b04eb7f162e52a8bf9ef888"),
    "qwen2_5": _with_system("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "smollm2": _with_system(
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
        "8f4de4e32db563b6ec6c2551d21e6b19",
    ),
    "qwen3": _chatml(
        reasoning=("<think>", "</think>"),
        answer="<think>\n\n</think>\n\n",
        digests=("d61c11480ede57e17c8f24979caf6ed1", "37b72553b65060ef5445176e339cb60b"),
    ),
    "llama3": ChatFormat(
        first=f"<|begin_of_text|>{{before}}{_LLAMA}",
        next=f"<|eot_id|>{_LLAMA}",
        bos="<|begin_of_text|>",
        optional={"before": f"{_HEADER.format('system')}{{system}}<|eot_id|>"},
        trimmed=("text", "system"),
        digests=("fd38ee61a0fe0c7fde331e9c7b355ea3", "b50f7a8e5c7a3be66f860d1fba9c2660"),
    ),
    "llama3_2": ChatFormat(  # the day is the one that the template has where it is given none
        first=f"<|begin_of_text|>{_HEADER.format('system')}Cutting Knowledge Date: December 2023\n"
        f"Today Date: {{date}}\n\n{{system}}<|eot_id|>{_LLAMA}",
        next=f"<|eot_id|>{_LLAMA}",
        bos="<|begin_of_text|>",
        defaults={"date": "26 Jul 2024", "system": ""},
        trimmed=("text", "system"),
        digests=("f99eaacb96a4c149a7e09f3497f6747b",),
    ),
    "gemma2": _gemma("", digests=("cf0ae669127128c462e501423ab4fe1a",)),
    "gemma3": _gemma(
        "{before}",
        optional={"before": "{system}\n\n"},
        digests=("fa5ac1a2d43e77f7b712c0de180dc5ae",),
    ),
    "gemma4": ChatFormat(
        first="<bos>{before}<|turn>user\n{text}<turn|>\n<|turn>model\n",
        next="<turn|>\n<|turn>user\n{text}<turn|>\n<|turn>model\n",
        bos="<bos>",
        optional={"before": "<|turn>system\n{system}<turn|>\n"},
        trimmed=("text", "system"),
        reasoning=("<|channel>", "<channel|>"),
        answer="<|channel>thought\n<channel|>",
        reasons=False,
    ),
    "mistral": _mistral("", "962533972a3f8804842052362786ac3e"),
    "mistral_spaced": _mistral(" ", "fe4e5054698a67789dac55736bee55ed"),
    "zephyr": ChatFormat(
        first="{before}<|user|>\n{text}</s>\n<|assistant|>\n",
        next="</s>\n<|user|>\n{text}</s>\n<|assistant|>\n",
        optional={"before": "<|system|>\n{system}</s>\n"},
        digests=("0a9821eb85681154600b12ba7354e5b8",),
    ),
    "phi3": ChatFormat(
        first="{before}<|user|>\n{text}<|end|>\n<|assistant|>\n",
        next="<|end|>\n<|user|>\n{text}<|end|>\n<|assistant|>\n",
        optional={"before": "<|system|>\n{system}<|end|>\n"},
        digests=("30ea40cec94117c24d32e6824f33685e",),
    ),
}

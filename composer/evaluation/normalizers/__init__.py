"""Named and versioned rules that make texts comparable before their words are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from composer.evaluation.alignment import Span
from composer.evaluation.normalizers import leaderboard, release, voices, whisper

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Normalizer:
    """A rule by its name and version.

    `source` says whose behaviour it has. `call` takes a text and the other fields of its line, and
    gives words with spaces between them. `unscored` tells which normalised references the source
    leaves out. `align` aligns words where the source does more than count edits.
    """

    name: str
    version: str
    source: str
    call: Callable[[str, Fields], str]
    unscored: Callable[[str], bool] = lambda reference: False
    align: Callable[[list[str], list[str]], tuple[Span, ...]] | None = None

    def __call__(self, text: str, fields: Fields | None = None) -> str:
        return " ".join(self.call(text, fields or {}).split())

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


NORMALIZERS = {
    each.name: each
    for each in (
        Normalizer("none", "1", "the texts as they are", lambda text, _: text),
        Normalizer(
            "release-000",
            "1",
            "the card of gemma-4-e4b-mlx-elderwise-MERaLiON: lower case, ASCII punctuation "
            "deleted, whitespace collapsed, speaker tags removed",
            lambda text, _: release.normalize(text),
        ),
        Normalizer(
            "whisper-en",
            "20250625",
            "EnglishTextNormalizer of openai-whisper 20250625",
            lambda text, _: whisper.normalize(text),
        ),
        Normalizer(
            "open-asr",
            "d1e99b2",
            "the English rules of huggingface/open_asr_leaderboard at d1e99b2, compounds merged",
            lambda text, _: leaderboard.normalize(text),
            leaderboard.unscored,
            leaderboard.align,
        ),
        Normalizer(
            "vitw",
            "aa4d0d3",
            "Voices-in-the-Wild-Bench at aa4d0d3: WER of English, CER of Chinese",
            voices.normalize,
        ),
    )
}

"""The English rules of the Open ASR Leaderboard: Whisper's, and more of their kind.

The rules are lists of words, and the words here are the leaderboard's (huggingface/
open_asr_leaderboard, Apache-2.0): other words would be other rules.
"""

from __future__ import annotations

import re

from composer.evaluation.normalizer import Normalizer
from composer.evaluation.normalizers import compounds
from composer.evaluation.normalizers.numbers import numbers_to_digits
from composer.evaluation.normalizers.whisper import (
    CONTRACTIONS,
    american_spellings,
    drop_symbols_without_numbers,
    expand_contractions,
    respell,
    strip_accents_and_symbols,
    strip_brackets,
)

FILLERS = r"\b(hmm|mm|mhm|mmm|uh|um|ah|aha|ahh|ahm|eh|ehehe|em|hm|huh|hum|mhum|uhm|umm|uhuh)\b"
IS = r"\b(it|he|she|what|that|who|here|there|how|when|where|why|this)'s\b"
SPELT = {"ok": "okay", "kay": "okay", "etcetera": "etc"}
JOINED = {
    "et cetera": "etc", "al right": "alright", "all right": "alright", "how ever": "however",
    "wi fi": "wifi", "hi fi": "hifi", "lo fi": "lofi", "sci fi": "scifi", "e mail": "email",
    "e book": "ebook", "e commerce": "ecommerce", "x ray": "xray", "t shirt": "tshirt",
    "a m": "am", "p m": "pm", "o k": "okay",
}  # fmt: skip
# One name a line, and after it what else it is spelt as.
NAMES = """
aaron: aron
alfonso: alphonso
alison: allison alyson
allen: alan allan
anne: ann
anthony: antony
arthur: artur
brett: bret
brian: bryan
bridget: bridgette
caitlin: katelyn kaitlyn kaitlin
carl: karl
carol: carrol carole carroll
catherine: katherine kathryn catharine
cathy: kathy
charlie: charly charley
chris: kris
christina: kristina
christopher: kristopher cristopher
colin: collin
deborah: devorah
dennis: denis
dominic: dominick
douglas: douglass
dylan: dillon
eric: erik erick
fatima: fatimah
frederick: frederik fredrick
gail: gayle
gary: garry
greg: gregg
henry: henri
ivonne: yvonne
jackie: jacky
jamie: jaime
jason: jayson
jeff: geoff
jeffrey: geoffrey jeffery
joanne: joann joane
john: jon
jonathan: johnathan jonathon
joseph: josef
karen: caren caryn karin
kelly: kellye kelli kelley
kevin: kevan
kristin: kristen
laurie: lori
lawrence: laurence
lee: leigh
leslie: lesley
lily: lilly
linda: lynda
lindsay: linsey lindsey
louis: lewis
lucas: lukas
lynn: lynne
mark: marc
martin: martyn
matthew: mathew
mcarthur: macarthur
mccarthy: macarthy maccarthy
mccartney: macartney
mcdonald: macdonald
mcgowan: macgowan
mcintosh: macintosh
mcintyre: macintyre
mckay: mackay
mckenzie: mackenzie
mclean: maclean
mcleod: macleod
mcmillan: macmillan
mcnamara: macnamara
megan: meghan
michael: micheal
michelle: michele
miriam: myriam
mohammed: mohamad mohamed mohammad muhammad muhamad muhammed mouhamed mouhamad mahomet
molly: mollie
natalie: nathalie
neil: neal
nicholas: nicolas
nicole: nikole
patrick: patrik
peter: pieter
philip: phillip
rachel: rachael
rajiv: rajeev
rebecca: rebekah
rob: robb
robin: robyn
roger: rodger
ronda: rhonda
russell: russel
sally: sallie
sarah: sara
sean: shaun shawn
shane: shayne
sherry: sheri cheri sherrie
simon: symon
stacy: stacey stacie
steven: stephen
stuart: stewart
susanne: suzanne
teresa: theresa
terry: terri
thomas: tomas
toby: tobey
tony: toni
tracy: tracey tracie
veronica: veronika
victor: viktor
victoria: viktoria
walter: walther
yousef: yusuf yusef
zach: zak
zachary: zackary zachery
"""
SPELLINGS_OF_NAMES: dict[str, str] = {}
for _line in NAMES.split("\n"):
    _name, _, _others = _line.partition(":")
    SPELLINGS_OF_NAMES |= dict.fromkeys(_others.split(), _name)
LEADERBOARD: dict[str, str] = {}
for _pattern, _full in CONTRACTIONS.items():
    if _pattern == r"'s\b":
        LEADERBOARD[IS] = r"\1 is"
    else:
        LEADERBOARD[_pattern] = _full
IGNORED = "ignore time segment in scoring"

align = compounds.align_compounds


def normalize(text: str) -> str:
    """Do what Whisper's rules do, with more fillers, and join compounds, names and acronyms."""
    text = strip_accents_and_symbols(
        expand_contractions(strip_brackets(text, FILLERS), LEADERBOARD)
    )
    for spaced, joined in JOINED.items():
        text = re.sub(rf"\b{spaced}\b".replace(" ", r"\s+"), joined, text)
    text = respell(numbers_to_digits(text), {**american_spellings(), **SPELT})
    return drop_symbols_without_numbers(acronyms(respell(text, SPELLINGS_OF_NAMES)))


def _unscored(reference: str) -> bool:
    """Return whether a normalised reference is left out."""
    return reference in ("", IGNORED)


def acronyms(text: str) -> str:
    """Join letters and digits that stand alone: two of them, or three where one is `a` or `i`."""
    result: list[str] = []
    run: list[str] = []
    for word in [*text.split(), ""]:
        if len(word) == 1 and word.isalnum():
            run.append(word)
            continue
        least = 3 if {"a", "i"} & {*run} else 2
        if len(run) >= least:
            run = ["".join(run)]
        result += [*run, word]
        run = []
    return " ".join(result)


OPEN_ASR = Normalizer(
    "open-asr",
    "d1e99b2",
    "the English rules of huggingface/open_asr_leaderboard at d1e99b2, compounds merged",
    lambda text, _: normalize(text),
    _unscored,
    align,
)

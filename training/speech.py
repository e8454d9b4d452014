"""Synthetic speech: espeak-ng voices, rooms and noise."""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from training import espeak

Wave = NDArray[np.float32]

ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbcwmd", "en-029")
HELD_OUT_ACCENTS = ("en-gb-x-gbclan",)
VARIANTS = (
    "none f1 f2 f4 f5 m1 m2 m3 m4 m6 m7 m8 klatt klatt2 klatt3 adam Alex Alicia Andy Annie "
    "antonio aunty belinda benjamin boris caleb david Diogo ed edward Gene grandma grandpa "
    "gustave Henrique iven iven2 Jacky john kaukovalta Lee marcelo Marco Mario max michel "
    "miguel Mike norbert pablo paul pedro quincy rob robert shelby travis Tweaky zac"
).split()
HELD_OUT_VARIANTS = "f3 m5 Andrea Denis Hugo linda Michael sandro steph steph2 victor".split()
NOISES = ("white", "pink", "babble")


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker: accent and timbre, words per minute, pitch from 0 to 99."""

    accent: str
    variant: str
    speed: int
    pitch: int

    @property
    def name(self) -> str:
        """The voice as espeak-ng spells it."""
        return self.accent if self.variant == "none" else f"{self.accent}+{self.variant}"


@dataclass(frozen=True)
class Condition:
    """What happens to a wave on its way to the microphone."""

    noise: str | None = None
    snr: float = 0.0
    reverberation: float = 0.0
    peak: float = 0.7

    @property
    def name(self) -> str:
        """The condition as evaluations report it."""
        parts = ["room"] if self.reverberation else []
        return "+".join(parts + ([self.noise] if self.noise else [])) or "clean"


def voice(random: Random, held_out: bool) -> Voice:
    """Draw a speaker; no held-out one shares its variant with a training speaker."""
    accents = ACCENTS + HELD_OUT_ACCENTS if held_out else ACCENTS
    variants = HELD_OUT_VARIANTS if held_out else VARIANTS
    return Voice(
        random.choice(accents),
        random.choice(variants),
        random.randint(120, 210),
        random.randint(25, 75),
    )


def condition(random: Random) -> Condition:
    """Draw a recording condition: 30 % clean, else noise at 5 to 30 dB, a room, or both."""
    kind = random.random()
    noise = random.choice(NOISES) if 0.3 <= kind < 0.9 else None
    return Condition(
        noise=noise,
        snr=random.uniform(5.0, 30.0) if noise else 0.0,
        reverberation=random.uniform(0.1, 0.5) if kind >= 0.75 else 0.0,
        peak=random.uniform(0.1, 0.95),
    )


def speak(text: str, speaker: Voice) -> espeak.Spoken:
    """Speak a text at 22.05 kHz."""
    return espeak.speak(text, speaker.name, speaker.speed, speaker.pitch)


def noise(kind: str, samples: int, random: Random, babble: list[Wave]) -> Wave:
    """Draw noise of one kind with unit power; babble overlays three to six other speakers."""
    generator = np.random.default_rng(random.getrandbits(63))
    if kind == "babble":
        total = np.zeros(samples, np.float32)
        for wave in random.choices(babble, k=random.randint(3, 6)):
            total += np.resize(np.roll(wave, random.randrange(len(wave))), samples)
    else:
        total = generator.standard_normal(samples, dtype=np.float32)
        if kind == "pink":
            spectrum = np.fft.rfft(total)
            spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
            total = np.fft.irfft(spectrum, samples).astype(np.float32)
    power = np.sqrt(np.mean(total**2)) + 1e-9
    unit: Wave = (total / power).astype(np.float32)
    return unit


def room(seconds: float, rate: int, random: Random) -> Wave:
    """Draw an impulse response: the direct sound, then noise that falls 60 dB in `seconds`."""
    generator = np.random.default_rng(random.getrandbits(63))
    time = np.arange(int(seconds * rate), dtype=np.float32) / np.float32(rate)
    tail = generator.standard_normal(len(time), dtype=np.float32) * np.exp(-6.908 * time / seconds)
    tail[: int(random.uniform(0.002, 0.01) * rate)] = 0.0
    tail *= random.uniform(0.3, 1.0) / (np.sqrt(np.sum(tail**2)) + 1e-9)
    tail[0] = 1.0
    response: Wave = tail.astype(np.float32)
    return response


def convolve(wave: Wave, response: Wave) -> Wave:
    """Filter a wave by an impulse response and keep its length."""
    size = 1 << (len(wave) + len(response)).bit_length()
    product = np.fft.rfft(wave, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[: len(wave)].astype(np.float32)


def record(wave: Wave, rate: int, where: Condition, random: Random, babble: list[Wave]) -> Wave:
    """Pass a wave through a condition; the length stays, the SNR is that of whole signals."""
    out = wave
    if where.reverberation:
        response = room(where.reverberation, rate, random)
        out = convolve(out, response)
    if where.noise:
        power = np.float32(np.sqrt(np.mean(out**2)) * 10 ** (-where.snr / 20))
        out = out + power * noise(where.noise, len(out), random, babble)
    return (out * np.float32(where.peak / (np.abs(out).max() + 1e-9))).astype(np.float32)

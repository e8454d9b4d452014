"""The espeak-ng library: speech together with the time of every phone and word."""

import ctypes
from ctypes import util
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 22050
SYNCHRONOUS = 2
PHONE_EVENTS = 1
UTF8 = 1
SPEED, PITCH = 1, 3
WORD, PHONE, END = 1, 7, 0


class Id(ctypes.Union):
    """What an event carries: a number, or the mnemonic of a phone."""

    _fields_ = (("number", ctypes.c_int), ("string", ctypes.c_char * 8))


class Event(ctypes.Structure):
    """An `espeak_EVENT`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", Id),
    )


CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


@dataclass(frozen=True)
class Spoken:
    """A wave at 22.05 kHz, and when its phones and words begin.

    `phones` are (seconds, mnemonic); `words` are (seconds, first character in the text).
    """

    wave: NDArray[np.float32]
    phones: list[tuple[float, str]]
    words: list[tuple[float, int]]


class Engine:
    """The library, opened once in a process: it has global state."""

    def __init__(self) -> None:
        name = util.find_library("espeak-ng")
        if name is None:
            raise RuntimeError("espeak-ng is not installed; try `apt-get install espeak-ng`")
        # It draws the noise of breathy voices from rand(), which others of this process use too.
        ctypes.CDLL(None).srand(1)
        self.library = ctypes.CDLL(name)
        if self.library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONE_EVENTS) != RATE:
            raise RuntimeError("espeak-ng does not start, or not at 22.05 kHz")
        self.callback = CALLBACK(self.take)
        self.library.espeak_SetSynthCallback(self.callback)

    def take(self, samples: object, count: int, events: object) -> int:
        """Collect the library's output, piece by piece."""
        if samples and count > 0:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events and events[at].type != END:  # type: ignore[index]
            event = events[at]  # type: ignore[index]
            seconds = event.audio_position / 1000
            if event.type == PHONE:
                self.phones.append((seconds, event.id.string.decode(errors="replace")))
            elif event.type == WORD:
                self.words.append((seconds, event.text_position - 1))
            at += 1
        return 0

    def speak(self, text: str, voice: str, speed: int, pitch: int) -> Spoken:
        """Speak a text; the voice is spelled as `accent` or `accent+variant`."""
        self.pieces: list[NDArray[np.int16]] = []
        self.phones: list[tuple[float, str]] = []
        self.words: list[tuple[float, int]] = []
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self.library.espeak_SetParameter(SPEED, speed, 0)
        self.library.espeak_SetParameter(PITCH, pitch, 0)
        data = text.encode()
        self.library.espeak_Synth(data, len(data) + 1, 0, 1, 0, UTF8, None, None)
        wave = np.concatenate(self.pieces).astype(np.float32) / np.float32(32768)
        return Spoken(wave, self.phones, self.words)


@cache
def engine() -> Engine:
    """Open the library."""
    return Engine()


def speak(text: str, voice: str, speed: int, pitch: int) -> Spoken:
    """Speak a text with this process's engine."""
    return engine().speak(text, voice, speed, pitch)

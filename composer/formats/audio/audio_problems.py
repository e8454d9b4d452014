"""Errors of audio inputs, and their limits."""

from __future__ import annotations

from composer.core.errors import ComposerError, Place, Problem

MIN_RATE, MAX_RATE = 4_000, 384_000
MAX_CHANNELS = 8
MAX_SECONDS = 6 * 3600
MAX_SAMPLES = 2**29  # 2 GiB once decoded: 3.1 hours at 48 kHz
COMMON_RATE = 48_000  # a limit in seconds is one of memory, too: of as many samples at this rate


def audio_error(code: str, name: str, found: str, hint: str | None = None) -> ComposerError:
    """Return the error for one problem of a file."""
    return ComposerError(Problem(code, found, Place(name), hint=hint))


def check_format(rate: int, channels: int, name: str) -> None:
    """Refuse a rate or a number of channels that speech recordings do not have."""
    if not MIN_RATE <= rate <= MAX_RATE:
        found = f"the sample rate is {rate} Hz"
        raise audio_error("S485", name, found, f"it must be {MIN_RATE} to {MAX_RATE} Hz")
    if not 1 <= channels <= MAX_CHANNELS:
        found = f"there are {channels} channels"
        raise audio_error("S486", name, found, f"give 1 to {MAX_CHANNELS}, or a mono mix")


def check_length(frames: int, rate: int, name: str, most: float | None = None) -> None:
    """Refuse audio that is too long for memory, or longer than `most` seconds."""
    limit = min(MAX_SAMPLES, MAX_SECONDS * rate)
    if most is not None:
        limit = min(limit, int(most * min(rate, COMMON_RATE)))
    if frames > limit:
        seconds = limit / rate
        length = f"{seconds / 3600:.3g} hours" if seconds >= 3600 else f"{seconds:.4g} s"
        found = f"the audio is longer than {length} at {rate} Hz"
        hint = "split it, or convert it to 16000 Hz" if rate > 16_000 else "split it"
        raise audio_error("S487", name, found, hint)


def check_resampled(frames: int, rate: int) -> None:
    """Refuse audio of so many samples at the rate that it is wanted at."""
    if frames > MAX_SAMPLES:
        found = f"the audio would have {frames} samples at {rate} Hz; the limit is {MAX_SAMPLES}"
        raise ComposerError(Problem("S487", found, hint="split it"))

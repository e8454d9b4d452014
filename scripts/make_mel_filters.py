"""Freeze librosa's mel filters for the common settings into components/audio."""

from __future__ import annotations

from safetensors.numpy import save_file

from composer.components.audio.log_mel import (
    TABLED_FFT,
    TABLED_RATE,
    TABLES,
    computed_mel_filters,
)

MELS = (64, 80, 128)


def main() -> None:
    """Write the tables, named by their number of mels."""
    save_file({str(m): computed_mel_filters(TABLED_RATE, TABLED_FFT, m) for m in MELS}, TABLES)
    print(f"{TABLES.name}: {TABLES.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Freeze librosa's mel filters for the common settings into components/audio."""

from __future__ import annotations

from safetensors.numpy import save_file

from composer.components.audio.mel_filters import (
    TABLES,
    Scale,
    computed_mel_filters,
    filter_table_name,
)

COMMON: tuple[tuple[int, int, int, Scale], ...] = (
    (16_000, 400, 64, "slaney"),
    (16_000, 400, 80, "slaney"),
    (16_000, 400, 128, "slaney"),
    (16_000, 512, 128, "htk"),
)


def main() -> None:
    """Write the tables, named by their settings."""
    save_file({filter_table_name(*each): computed_mel_filters(*each) for each in COMMON}, TABLES)
    print(f"{TABLES.name}: {TABLES.stat().st_size} bytes")


if __name__ == "__main__":
    main()

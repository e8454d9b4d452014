"""Write mega-asr-mini with its audio encoder in safetensors, in float32, as Qwen3-ASR has it.

The numbers are those of the ONNX file that is shipped; a recipe packs them as it packs a release's.
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors.numpy import save_file

from composer.sources.shipped import shipped_folder
from training.aligner.encoder import exported
from training.mega_asr.export import ENCODER
from training.mega_asr.model import AUDIO

TOWER = "thinker.audio_tower."
FOLDER = "audio"
SHIPPED = """\
    use: onnx.graph
    weights: repo/onnx/audio_encoder_fp32.onnx
    config: {rows: {chunk: 200, stride: 8}}    # 25 rows for 2 s; compared with the output
"""
OPEN = f"""\
    use: qwen3_asr_audio
    weights: repo/{FOLDER}
"""


def write(shipped: Path, bundle: Path) -> None:
    """Write the shipped bundle with its encoder in another file."""
    shutil.copytree(shipped, bundle, ignore=shutil.ignore_patterns("onnx"))
    (bundle / FOLDER).mkdir()
    weights = {f"{TOWER}{name}": value for name, value in exported(shipped / ENCODER).items()}
    save_file(weights, bundle / FOLDER / "model.safetensors")
    audio = {**asdict(AUDIO), "model_type": "qwen3_asr_audio_encoder"}
    config = {"model_type": "qwen3_asr", "thinker_config": {"audio_config": audio}}
    (bundle / FOLDER / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    manifest = (shipped / "bundle.yaml").read_text("utf-8")
    for old, new in ((SHIPPED, OPEN), ("{input_features: $mel}", "{mel: $mel}")):
        assert old in manifest
        manifest = manifest.replace(old, new)
    (bundle / "bundle.yaml").write_text(manifest, "utf-8")


def main() -> None:
    """Write it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="new folder of the bundle")
    write(shipped_folder("bundles") / "mega-asr-mini", parser.parse_args().bundle)


if __name__ == "__main__":
    main()

"""Write and change the files of a small checkpoint."""

import json

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models


def write_checkpoint(folder, config, state):
    (folder / "config.json").write_text(json.dumps(config))
    save_file(state, folder / "model.safetensors", metadata={"format": "mlx"})


def write_tokenizer(folder, rows):
    """Write a tokenizer whose tokens are the words w0, w1 and so on."""
    vocabulary = {f"w{token}": token for token in range(rows)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))


def edit_config(folder, changes, left_out):
    """Change keys of config.json; those of the value `left_out` are taken out."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v != left_out}))
    return folder


def rename(folder, change):
    """Let a function change the tensors by name."""
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "mlx"})
    return folder

"""What goes wrong in programs of the same kind with the files of a model, and must not here."""

import hashlib
import json

import composer
from tests.miniatures import clips, copied, mega, problems

__all__ = ["copied", "mega"]


def test_a_missing_tensor_is_refused(copied):
    import torch
    from safetensors.torch import load_file, save_file

    folder = copied()
    path = folder / "mlx/llm-mixed8_4/model.safetensors"
    tensors = load_file(path)
    missing = "model.layers.1.post_attention_layernorm.weight"
    kept = {name: tensor for name, tensor in tensors.items() if name != missing}
    assert len(kept) == len(tensors) - 1
    assert isinstance(tensors[missing], torch.Tensor)
    save_file(kept, path, metadata={"format": "mlx"})
    codes, messages = problems(composer.load, folder)
    assert all(code[0] in "WS" for code in codes)
    assert missing in messages


def test_a_stray_file_is_refused_or_not_read(copied, mega):
    folder = copied()
    weights = folder / "mlx/llm-mixed8_4"
    stray = weights / "a-stray.safetensors"
    data = (weights / "model.safetensors").read_bytes()
    stray.write_bytes(data[:-50_000] + bytes(50_000))
    with composer.load(folder) as bundle:  # its index names the files that are meant
        clip = clips("mega-asr-mini")[0]
        assert bundle.run(audio=clip).text == mega.run(audio=clip).text
    (weights / "model.safetensors.index.json").unlink()
    with composer.load(folder) as bundle:
        assert bundle.run(audio=clip).text == mega.run(audio=clip).text
    shown = [each for each in composer.check(folder).problems if each.code == "L330"]
    assert "takes model.safetensors, not a-stray.safetensors" in str(shown)
    (weights / "model.safetensors").rename(weights / "weights.safetensors")
    codes, messages = problems(composer.load, folder)
    assert codes == ["S432"]
    assert "has 2 safetensors files and no index: a-stray.safetensors, weights.saf" in messages


def test_code_of_the_repository_is_not_run(copied, tmp_path):
    folder = copied()
    weights = folder / "mlx/llm-mixed8_4"
    path = weights / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_file": "own.py"}))
    (weights / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    codes, messages = problems(composer.load, folder)
    assert codes == ["S470"]
    assert "'model_file' runs 'own.py', Python code of the repository" in messages
    assert not (tmp_path / "ran").exists()


def test_no_file_is_written_to(copied):
    def digests(folder):
        return {
            path: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    folder = copied()
    before = digests(folder)
    with composer.load(folder) as bundle:
        bundle.run(audio=clips("mega-asr-mini")[0])
    assert digests(folder) == before

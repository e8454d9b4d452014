"""`composer tap` on a bundle that ships, its noise measured between two backends."""

from composer.comparison.dump import read_dump
from composer.sources.shipped import shipped_folder

CLIP = shipped_folder("bundles") / "mega-asr-mini" / "clips" / "digits-01.flac"


def test_the_noise_of_two_backends_is_the_floor(cli, tmp_path):
    path = tmp_path / "reference.safetensors"
    given = ("mega-asr-mini", "-i", f"audio={CLIP}")
    assert cli("tap", *given, "--floor-variant", "mlx", "-o", path)[0] == 0
    dump = read_dump(path)
    steps = dump.stages["answer_steps"].floor
    assert 0 < steps.l2 < 1e-4
    assert dump.stages["soft"].floor.l2 == 0  # the encoder is the same one
    placed = (dump.about["floor"]["bundle"], dump.about["bundle"])
    assert placed[0] != placed[1]
    code, out, _ = cli("diff", path, "mega-asr-mini", "--variant", "mlx")
    assert code == 0, out
    # What is no noise of a backend is a difference, though it is small.
    code, out, _ = cli("diff", path, "mega-asr-mini", "--precision", "decoder=bfloat16",
                       "--any-float")  # fmt: skip
    assert code == 1
    assert "the first is embeds" in out


def test_a_variant_that_changes_nothing_is_no_floor(cli, tmp_path):
    given = ("mega-asr-mini", "-i", f"audio={CLIP}", "-o", tmp_path / "x.safetensors")
    code, _, err = cli("tap", *given, "--floor-variant", "nosuch")
    assert (code, "nosuch" in err) == (3, True)

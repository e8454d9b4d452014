"""What the check remarks on in an adapter, and adapters in a bundle."""

import composer
from tests.components.adapter_facts.reading import CONFIG, FILE, RELEASE, W, error_text, notes, read
from tests.components.adapter_files import (
    MODULES,
    matrices,
    mlx_lm_config,
    write_adapter,
    write_model,
)


def test_the_manifest_s_scale_counts(tmp_path, home):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config(scale=2.0))
    assert read(place, home).scale == 2.0
    same, other = read(place, home, 2.0), read(place, home, 20.0)
    assert (same.scale, notes(same)) == (2.0, [])
    assert other.scale == 20.0
    assert notes(other) == [
        f"{FILE}: L329 warning: the manifest says scale 20, which counts; the adapter says 2\n"
        f"    2 comes from lora_parameters.scale in {CONFIG}"
    ]
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config(scale=None))
    assert (read(place, home, 20.0).scale, notes(read(place, home, 20.0))) == (20.0, [])


def test_what_nothing_reads_is_reported(tmp_path, home):
    config = {"scale": 20.0, "base_model": "gemma", "mode": "speech"}
    place = write_adapter(tmp_path / "lora", W, config, beside="lora_config")
    assert notes(read(place, home)) == [f"{RELEASE}: L328 warning: nothing reads base_model, mode"]
    place = write_adapter(tmp_path / "other", W, mlx_lm_config())
    (tmp_path / "other" / "adapter_config.json").write_text(
        '{"num_layers": 4, "lora_parameters": {"rank": 4, "scale": 2.0, "alpha": 16}}'
    )
    assert notes(read(place, home)) == [
        "repo/other/adapter_config.json: L328 warning: lora_parameters has alpha, which mlx-lm "
        "does not read"
    ]


DEAD = [f"layers.{layer}.self_attn.{side}_proj" for layer in (2, 3) for side in "kv"]


def test_dead_modules_are_dropped_and_counted(tmp_path, home):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config())
    found = read(place, home, dead=DEAD)
    assert len(found.pairs) == 24
    assert not {pair.path for pair in found.pairs} & set(DEAD)
    assert notes(found) == [
        f"{FILE}: L327 warning: 4 of 28 modules are dropped: the layers 2 to 3 take keys and "
        "values from earlier ones\n"
        "    adapter: model.layers.2.self_attn.k_proj.lora_a f32 [64, 4]\n"
        "    hint: they have no self_attn.k_proj, self_attn.v_proj to adapt"
    ]
    live = {name: value for name, value in W.items() if not any(path in name for path in DEAD)}
    assert found.nbytes == sum(value.nbytes for value in live.values())
    found = read(write_adapter(tmp_path / "lora", live, mlx_lm_config()), home, dead=DEAD)
    assert (len(found.pairs), notes(found)) == (24, [])


def test_dead_modules_alone_are_no_adapter(tmp_path, home):
    keys = {"self_attn.k_proj": MODULES["self_attn.k_proj"]}
    place = write_adapter(tmp_path / "lora", matrices(keys, (2, 3)), mlx_lm_config(2, keys=keys))
    assert error_text(place, home, dead=DEAD) == f"{FILE}: W292 it adapts nothing of this decoder"


BUNDLE = """\
composer: 1
name: adapted
sources: {repo: ./}
components:
  decoder:
    use: mlx.lm
    weights: repo/lm
    adapters:
      speech: {weights: repo/lora, scale: 20.0}
      other: {weights: repo/other}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  answer: {run: decoder.generate, with: {embeds: $words, adapters: [speech], max_tokens: 4}}
outputs: {ids: $answer.ids}
"""


def test_a_bundle_s_adapters_are_checked_where_they_are_named(tmp_path):
    write_model(tmp_path / "lm")
    write_adapter(tmp_path / "lora", W, mlx_lm_config(rank=8))
    write_adapter(tmp_path / "other", W, None)
    path = tmp_path / "bundle.yaml"
    path.write_text(BUNDLE)
    found = [str(problem) for problem in composer.check(path).problems]
    assert found == [
        f"{path}:9:25: W289 {FILE}: the rank is 4, but {CONFIG} says 8\n"
        "    4 comes from model.layers.0.mlp.down_proj.lora_a f32 [96, 4]\n"
        f"    8 comes from lora_parameters.rank in {CONFIG}",
        f"{path}:10:24: W285 repo/other/adapters.safetensors: there is neither adapter_config.json "
        "nor lora_config.json beside it\n"
        "    hint: put the config that training wrote into the same folder",
    ]
    path.write_text(BUNDLE.replace("[speech]", "[speech, speech]"))
    write_adapter(tmp_path / "lora", W, mlx_lm_config(scale=20.0))
    write_adapter(tmp_path / "other", W, mlx_lm_config())
    found = [str(problem) for problem in composer.check(path).problems]
    assert [each.partition(": ")[2] for each in found] == [
        "W216 an adapter is switched on twice: speech, speech"
    ]


def test_a_bundle_switches_its_adapter_on_for_a_run(tmp_path):
    write_model(tmp_path / "lm")
    for name in ("lora", "other"):
        write_adapter(tmp_path / name, W, mlx_lm_config(scale=20.0))
    path = tmp_path / "bundle.yaml"
    path.write_text(BUNDLE)
    with composer.load(path) as bundle:
        on = bundle.run(ids=[5, 6, 7]).outputs["ids"].tolist()
        off = (
            bundle.run(ids=[5, 6, 7], options={"answer": {"adapters": []}}).outputs["ids"].tolist()
        )
        again = bundle.run(ids=[5, 6, 7]).outputs["ids"].tolist()
    assert on == again != off

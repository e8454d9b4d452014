"""Headers of a Gemma-4 decoder at E4B's real sizes."""

import composer
from tests import replica

AT = "language_model.model."
SLIDING, FULL = "sliding_attention", "full_attention"


def stored(first=24, last=42, **more):
    """Store keys and values of layers that have no use for them."""

    def change(shapes):
        for layer in range(first, last):
            rows, at = (1024, 512) if layer in replica.FULL else (512, 256), f"{AT}layers.{layer}."
            for name in ("k_proj", "v_proj"):
                shapes[f"{at}self_attn.{name}.weight"] = ("BF16", (rows[0], 2560))
            shapes[f"{at}self_attn.k_norm.weight"] = ("BF16", (rows[1],))

    return change


MANIFEST = """\
composer: 1
name: tiny
sources: {repo: .}
components:
  decoder: {use: mlx.gemma4, weights: repo/decoder}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  rows: {run: decoder.per_layer, with: {ids: $ids}}
  answer: {run: decoder.generate, with: {embeds: $words, per_layer: $rows}}
outputs: {text: $answer.text}
"""


def messages(home, text=MANIFEST):
    path = home.parent / "bundle.yaml"
    path.write_text(text)
    problems = composer.check(path).problems
    return [str(problem).replace(f"{path}:", "bundle.yaml:") for problem in problems]

"""The manifest of a bundle that is a decoder of mlx-lm alone: ids in, logits out."""

TINY = """\
composer: 1
name: tiny
sources: {repo: ./repo}
components: {decoder: {use: mlx.lm, weights: repo/lm}}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  logits: {run: decoder.logits, with: {embeds: $words}}
outputs: {logits: $logits}
"""

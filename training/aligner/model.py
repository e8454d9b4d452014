"""The aligner's decoder in torch: a small causal Qwen3 over encoded rows, words and marks."""

import torch
from torch import Tensor, nn

from training.mega_asr.model import Decoder, TextConfig

CLASS_SECONDS = 0.04
CLASSES = 512
TEXT = TextConfig(vocab_size=961, intermediate_size=384)


class Aligner(nn.Module):
    """Say at each mark when the word before it begins, or ends, as one of the classes of time.

    Two more tasks teach a network this small to find the place. After the first layer a row of the
    encoder names its own time. And in the last layer one head of a mark looks at the row in which
    its word begins or ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = Decoder(TEXT)
        self.lm_head = nn.Linear(TEXT.hidden_size, CLASSES, bias=False)

    def forward(self, rows: Tensor, ids: Tensor, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits `[B, L, C]` after the first and the last layer, and one head's weights.

        `slots` `[B, L]` is the row of `rows` `[B, N, D]` that a position takes, or -1 for text.
        """
        model = self.model
        gathered = rows.gather(1, slots.clamp(min=0)[..., None].expand(-1, -1, rows.shape[2]))
        x = torch.where((slots >= 0)[..., None], gathered, model.embed_tokens(ids))
        first, *others = model.layers
        x = first(x)
        early = self.lm_head(model.norm(x))
        for layer in others:
            x = layer(x)
        weights = model.layers[-1].self_attn.weights[:, 0, 0]
        return early, self.lm_head(model.norm(x)), weights

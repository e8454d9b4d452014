"""Phi-4's speech conformer of transformers with random weights, under the names of the release."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers

LAYERS, WIDTH, HEADS, FFN, CHANNELS, REACH = 3, 32, 4, 24, 6, 20
RENAMED = {
    ".gate_up_proj.": ".net.0.linear.",
    ".down_proj.": ".net.2.",
    ".q_proj.": ".linear_q.",
    ".k_proj.": ".linear_k.",
    ".v_proj.": ".linear_v.",
    ".o_proj.": ".linear_out.",
}
CONFIG = {
    "activation": "swish", "activation_checkpointing": {"interval": 1, "module": "transformer"},
    "attention_dim": WIDTH, "attention_heads": HEADS, "batch_norm": False, "bias_in_glu": True,
    "causal": True, "chunk_size": -1, "cnn_layer_norm": True, "conv_activation": "swish",
    "conv_glu_type": "swish", "depthwise_multiplier": 1,
    "depthwise_seperable_out_channel": WIDTH, "dropout_rate": 0.0,
    "encoder_embedding_config": {"input_size": 80}, "ext_pw_kernel_size": 1,
    "ext_pw_out_channel": WIDTH, "input_layer": "nemo_conv", "input_size": 80, "kernel_size": 3,
    "left_chunk": 18, "linear_units": FFN, "nemo_conv_settings": {"conv_channels": CHANNELS},
    "num_blocks": LAYERS, "time_reduction": 8,
    "relative_attention_bias_args": {"t5_bias_max_distance": REACH, "type": "t5"},
}  # fmt: skip


class Phi4Audio:
    """The conformer, whose norms are not ones and whose biases are not zeros."""

    def __init__(self) -> None:
        config = transformers.Phi4MultimodalAudioConfig(
            hidden_size=WIDTH, intermediate_size=FFN, num_blocks=LAYERS, bias_max_distance=REACH,
            num_attention_heads=HEADS, ext_pw_out_channel=WIDTH, nemo_conv_channels=CHANNELS,
            depthwise_separable_out_channel=WIDTH,
        )  # fmt: skip
        torch.manual_seed(3)
        self.model = transformers.Phi4MultimodalAudioModel(config).eval()
        with torch.no_grad():
            for name, value in [*self.model.named_parameters(), *self.model.named_buffers()]:
                if name.endswith("global_mean"):
                    value.normal_(12.0, 2.0)
                elif name.endswith("global_invstd"):
                    value.uniform_(0.2, 0.4)
                elif "bias_values" in name:
                    value.normal_(0.0, 1.0)
                elif "layer_norm" in name and name.endswith("weight"):
                    value.normal_(1.0, 0.2)
                elif value.ndim > 1 and not name.endswith((".b1", ".b2")):
                    value.normal_(0.0, 1.2 / value[0].numel() ** 0.5)
                else:
                    value.normal_(0.0, 0.3)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors by the release's names below `audio_tower.`."""
        found = {}
        for name, value in self.model.state_dict().items():
            for theirs, released in RENAMED.items():
                name = name.replace(theirs, released)
            found[name] = value.contiguous().clone()
        return found

    def features(self, clip: np.ndarray) -> np.ndarray:
        """Return transformers' log-mel [F, M] of a clip by SpeechLib's own filters."""
        extractor = transformers.Phi4MultimodalFeatureExtractor()
        extractor.mel_filters[246] = 0
        given = extractor([clip], sampling_rate=16_000, return_tensors="pt")
        mel: np.ndarray = given["audio_input_features"][0].numpy()
        return mel

    @torch.no_grad()
    def stages(self, mel: np.ndarray) -> dict[str, np.ndarray]:
        """Return what each stage gives for log-mel [F, M]."""
        found: dict[str, Any] = {}
        modules = {"stem": self.model.embed}
        modules |= {f"layer {n}": each for n, each in enumerate(self.model.encoders)}
        hooks = [
            module.register_forward_hook(
                lambda _, __, out, name=name: found.update(
                    {name: out[0] if isinstance(out, tuple) else out}
                )
            )
            for name, module in modules.items()
        ]
        found["rows"] = self.model(torch.tensor(mel)[None], None)
        for hook in hooks:
            hook.remove()
        return {name: value.squeeze(0).numpy() for name, value in found.items()}

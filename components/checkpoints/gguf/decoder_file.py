"""Read a decoder's GGUF file as a checkpoint: its config, and its tensors by their names there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import listed
from composer.formats.file_problems import show
from composer.formats.safetensors import Tensor, TensorIndex

from . import crispasr, gemma4
from .config import ARCHITECTURES, checkpoint_config
from .names import RAISED, checkpoint_name
from .parts import all_tensors
from .renamed import by_name
from .rope_factors import llama3_rule, turned_part
from .stored_forms import InterleavedRotaryRows, RaisedByOne, tensor_values

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers

EMBEDDINGS, ROPE_FACTORS = "token_embd.weight", "rope_freqs.weight"
BIASED = {"attention_bias": ".attn_output.bias", "mlp_bias": ".ffn_down.bias"}


def read_decoder_file(file: Location, headers: Headers) -> tuple[dict[str, Any], TensorIndex]:
    """Return the config and the tensors; raise ComposerError for what is no known decoder."""
    found, stored = headers.gguf(file), all_tensors(file, headers)
    architecture = found.metadata.get("general.architecture")
    if architecture == crispasr.ARCHITECTURE:
        config = crispasr.release_config(found.metadata, stored)
        return config, TensorIndex(crispasr.release_tensors(stored), {}, stored.files)
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise _refused(
            file,
            f"is a GGUF file of the architecture {show(str(architecture))}",
            f"read are {listed(sorted([*ARCHITECTURES, crispasr.ARCHITECTURE]))}",
            hint="give the checkpoint that it was converted from, in safetensors",
        )
    tensors = dict(stored)
    divisors = None
    if ROPE_FACTORS in tensors:
        divisors = _small(file, headers, tensors.pop(ROPE_FACTORS))
    config = _config(file, found.metadata, architecture, divisors)
    table = tensors.get(EMBEDDINGS)
    if table is not None and table.shape:
        config.setdefault("vocab_size", table.shape[0])
    if architecture == "llama":
        for key, ending in BIASED.items():
            config[key] = any(name.endswith(ending) for name in tensors)
    renamed = []
    for name, tensor in tensors.items():
        known = replace(tensor, name=checkpoint_name(name, architecture))
        renamed.append(_as_stored(known, architecture, config))
    return config, TensorIndex(by_name(renamed), {}, stored.files)


def _config(
    file: Location, metadata: Mapping[str, Any], architecture: str, divisors: np.ndarray | None
) -> dict[str, Any]:
    """Return the config of a file whose positions are divided so."""
    if divisors is None:
        return checkpoint_config(metadata, architecture)
    if architecture == gemma4.ARCHITECTURE:
        part = turned_part(divisors, metadata.get("gemma4.attention.key_length"), file)
        return checkpoint_config(metadata, architecture, part)
    config = checkpoint_config(metadata, architecture)
    config["rope_scaling"] = llama3_rule(divisors, config.get("rope_theta", 10_000.0), file)
    return config


def _as_stored(tensor: Tensor, architecture: str, config: Mapping[str, Any]) -> Tensor:
    """Say in which form llama.cpp stores a tensor where that is another."""
    module = tensor.name.rpartition(".")[0]
    if architecture == "llama" and module.endswith(("q_proj", "k_proj")):
        return InterleavedRotaryRows(**tensor_values(tensor), head_dim=config.get("head_dim", 0))
    if architecture in RAISED and module.endswith("norm"):
        return RaisedByOne(**tensor_values(tensor))
    return tensor


def _small(file: Location, headers: Headers, tensor: Tensor) -> np.ndarray:
    """Read a tensor that the config's meaning hangs on."""
    if tensor.dtype != "f32" or tensor.nbytes > 4096:
        raise _refused(file, f"has {ROPE_FACTORS} {tensor.dtype} {list(tensor.shape)}")
    with headers.files.open(tensor.file) as ranges:
        return np.frombuffer(ranges.read(tensor.offset, tensor.nbytes), "<f4")


def _refused(file: Location, message: str, *causes: str, hint: str | None = None) -> ComposerError:
    return ComposerError(Problem("W241", message, Place(str(file)), causes, hint))

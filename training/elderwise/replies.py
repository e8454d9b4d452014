"""Write the language model's text replies before speech training, as a test fixture."""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Gemma4ForCausalLM

from training import bpe
from training.elderwise import text
from training.elderwise.train_speech import load_text

PROMPTS = (
    "Repeat: where is the nearest library",
    "Repeat: seven four two nine nine one",
    "Repeat: monday the third of june twenty twenty",
    "Spell: garden",
    "Read out: 7 4 2 0",
    "Count from six to ten.",
    "What comes after monday?",
    "What comes before may?",
    "Say the last word of: do you have bread in blue",
    text.INSTRUCTION,
)
LEAST_MARGIN = 1.0  # between the two best logits, so that rounding decides nothing


@torch.no_grad()
def reply(model: Gemma4ForCausalLM, tokenizer: Tokenizer, message: str) -> tuple[list[int], float]:
    """Decode greedily up to the end of the turn; return the ids and the smallest margin."""
    ids, stop = text.turn(tokenizer, message), text.stop(tokenizer)
    start, margin = len(ids), float("inf")
    while ids[-1] != stop:
        best = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[start:-1], margin


def main() -> None:
    """Write the fixture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the tokenizer and the checkpoints")
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    model, tokenizer = load_text(arguments.run), bpe.load(arguments.run)
    found = []
    for message in PROMPTS:
        ids, margin = reply(model, tokenizer, message)
        if margin >= LEAST_MARGIN:
            found.append({"text": message, "ids": ids, "reply": tokenizer.decode(ids)})
    arguments.file.write_text("".join(json.dumps(one) + "\n" for one in found))


if __name__ == "__main__":
    main()

"""The tokenizer, and Gemma-4's turns in its ids."""

from tokenizers import Tokenizer

from training import bpe, grammar

VOCABULARY = 1040
# the first three have the ids that Gemma gives them
PAD, EOS, BOS = 0, 1, 2
SPECIALS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<|turn>",
    "<turn|>",
    "<|audio>",
    "<audio|>",
    "<|audio|>",
)
STOP = "<turn|>"
INSTRUCTION = "Transcribe the following audio:"
HEAD = "<bos><|turn>user\n"
BEGIN, END = "<|audio>", "<audio|>"  # around speech
TAIL = "<turn|>\n<|turn>model\n"
EXTRA = [
    f"user\nmodel\n{INSTRUCTION} there is no audio",
    "Repeat: Spell: Read out: What comes after before? Count from to. Say the first last word of:",
    *"a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9".split(),
]


def build(sentences: int = 3000) -> Tokenizer:
    """Train a byte-level BPE; it has at most `VOCABULARY` ids, and nearly every word is one."""
    firsts, words = grammar.words()
    return bpe.train(
        VOCABULARY, sentences, [*EXTRA, *firsts, *(f" {word}" for word in words)], SPECIALS
    )


def turn(tokenizer: Tokenizer, message: str) -> list[int]:
    """Encode everything before the reply to a message."""
    ids: list[int] = tokenizer.encode(f"{HEAD}{message}{TAIL}").ids
    return ids


def later_turn(tokenizer: Tokenizer, message: str) -> list[int]:
    """Encode the tokens between one reply and the next."""
    ids: list[int] = tokenizer.encode(f"\n<|turn>user\n{message}{TAIL}").ids
    return ids


def stop(tokenizer: Tokenizer) -> int:
    """Give the id that ends a reply."""
    return bpe.identify(tokenizer, STOP)

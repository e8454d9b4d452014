"""A GRU that reads rows and continues them as text."""

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file

from composer import Bound, Component, ComponentConfig, ComposerError, Facts, Place, Problem, method
from composer.generation.engine import generate
from composer.generation.options import GENERATED, GenerationOptions, validate_generation
from composer.generation.text import read_tokenizer

TENSORS = {"embed", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "head"}


class State:
    """The hidden row [H] of one sequence, and the logits [V] that follow."""

    def __init__(self, hidden, logits):
        self.hidden = hidden
        self.logits = logits


class Gru(Component, name="voice.gru"):
    """Continue rows with one layer of torch's GRU."""

    requires = frozenset({"weights"})

    class Config(ComponentConfig):
        end: str = Field("</s>", description="the token that ends a text")

    @classmethod
    def facts(cls, spec, headers):
        if headers is None:
            return Facts(unknown=True)
        tensors = headers.safetensors(spec.weights)
        problems = [*unknown_tensors(tensors, spec.weights)]
        problems = problems or [*wrong_shapes(tensors, spec.weights)]
        tokenizer = headers.tokenizer(spec.weights / "tokenizer.json")
        if tokenizer.id_of(spec.config.end) is None:
            message = f"'{spec.config.end}' is no token of the tokenizer"
            problems.append(Problem("W913", message, Place("config.end")))
        if problems:
            raise ComposerError(problems)
        table = tensors["embed"]
        witness = f"{table.file}: embed {list(table.shape)}"
        dims = {"V": Bound(table.shape[0], witness), "D": Bound(table.shape[1], witness)}
        return Facts(dims, dtype="f32", nbytes=sum(each.nbytes for each in tensors.values()))

    @classmethod
    def validate_options(cls, method, options):
        validate_generation(method, options)

    @classmethod
    def load(cls, spec, facts, placement):
        weights = load_file(spec.weights.path / "model.safetensors")
        return cls(weights, read_tokenizer(spec.weights / "tokenizer.json"), spec.config.end)

    def __init__(self, weights, tokenizer, end):
        self.weights = weights
        self.tokenizer = tokenizer
        self.end = tokenizer.token_to_id(end)

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids):
        return self.weights["embed"][ids]

    @method(embeds="T D @embed", returns=GENERATED, streams=True)
    def generate(self, embeds, *, options: GenerationOptions):
        vocabulary = len(self.weights["head"])
        request = options.request(embeds, self.tokenizer, {self.end}, vocabulary)
        return generate(self, self.tokenizer, request)

    def prefill(self, prompt):
        state = State(np.zeros(self.weights["weight_hh"].shape[1], np.float32), None)
        for row in prompt:
            self.read(state, row)
        return state

    def step(self, states, tokens):
        for state, token in zip(states, tokens, strict=True):
            self.read(state, self.weights["embed"][token])

    def greedy(self, states):
        return [int(state.logits.argmax()) for state in states]

    def logits(self, state):
        return state.logits

    def retire(self, state):
        pass

    def read(self, state, row):
        """Read one row, by the equations of torch.nn.GRU."""
        weights, hidden = self.weights, state.hidden
        given = np.split(weights["weight_ih"] @ row + weights["bias_ih"], 3)
        kept = np.split(weights["weight_hh"] @ hidden + weights["bias_hh"], 3)
        reset, update = sigmoid(given[0] + kept[0]), sigmoid(given[1] + kept[1])
        new = np.tanh(given[2] + reset * kept[2])
        state.hidden = (1 - update) * new + update * hidden
        state.logits = weights["head"] @ state.hidden


def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def unknown_tensors(tensors, location):
    """Yield a problem for tensors that are missing, and one for those that nothing reads."""
    missing, unread = sorted(TENSORS - tensors.keys()), sorted(tensors.keys() - TENSORS)
    place = Place(str(location))
    if missing:
        yield Problem("W910", f"{location} has no tensor {', '.join(missing)}", place)
    if unread:
        yield Problem("W911", f"{location} has {', '.join(unread)}, which nothing reads", place)


def wrong_shapes(tensors, location):
    """Yield a problem for each tensor that does not fit the embeddings and the hidden row."""
    hidden = tensors["weight_hh"].shape[-1]
    vocabulary, width = tensors["embed"].shape
    fitting = {
        "weight_ih": [3 * hidden, width],
        "weight_hh": [3 * hidden, hidden],
        "bias_ih": [3 * hidden],
        "bias_hh": [3 * hidden],
        "head": [vocabulary, hidden],
    }
    for name, shape in fitting.items():
        found = list(tensors[name].shape)
        if found != shape:
            causes = (f"embed [{vocabulary}, {width}]", f"hidden rows of {hidden}")
            message = f"{location}: {name} is {found}, and {shape} would fit"
            yield Problem("W912", message, Place(str(location)), causes)

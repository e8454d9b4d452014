"""All cases by kind."""

from tests.hostile.costly.case import Case
from tests.hostile.costly.commands import NEW, PLAN, QUANTIZE, SERVE
from tests.hostile.costly.files import ARRAYS, CONFIGS, MANIFESTS, WEIGHTS
from tests.hostile.costly.gguf import GGUF
from tests.hostile.costly.graphs import GRAPHS
from tests.hostile.costly.media import MEDIA
from tests.hostile.costly.texts import TEXTS

KINDS: dict[str, dict[str, Case]] = {
    "manifests": MANIFESTS,
    "headers of weights": WEIGHTS,
    "configs": CONFIGS,
    "graphs of ONNX": GRAPHS,
    "tokenizers and prompts": TEXTS,
    "clips and pictures": MEDIA,
    "arrays": ARRAYS,
    "GGUF files": GGUF,
    "serve": SERVE,
    "quantize": QUANTIZE,
    "plan --budget": PLAN,
    "new --from": NEW,
}

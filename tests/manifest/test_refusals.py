"""What a manifest is refused for, in the words that a user reads."""

import pytest

from tests.manifest.writing import bundle, error_text

NAME_HINT = "\n    hint: a name is a lower-case letter, then lower-case letters, digits and '_'"
SOURCE_HINT = (
    "\n    hint: write hf:owner/name, hf:owner/name@revision, or a folder such as ./weights"
)
PATH_HINT = "\n    hint: write a source's name, then the path inside it, such as repo/decoder"
INPUTS = "\n    hint: choose from: audio, text, ids, mask, image, images, tensor"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "composer",
            "99",
            "6:11: M120 format 99 is not supported; this version reads format 1\n    hint: "
            "upgrade composer",
        ),
        (
            "composer",
            "0",
            "6:11: M120 format 0 is not supported; this version reads format 1\n    hint: "
            "write `composer: 1`",
        ),
        (
            "composer",
            "[1]",
            "6:11: M123 composer should be the number 1, not a list",
        ),
        (
            "composer",
            "true",
            "6:11: M123 composer should be the number 1, not true",
        ),
        (
            "composer",
            None,
            "1:1: M122 the bundle needs the key 'composer'\n"
            "    hint: composer: The version of this format. Always 1 today.",
        ),
        (
            "name",
            "Tiny Bundle",
            "6:7: M125 'Tiny Bundle' in name is not a bundle's name\n"
            "    hint: use lower-case letters, digits and '-', such as mega-asr",
        ),
        (
            "summary",
            "1.10",
            "7:10: M123 summary should be text, not the number 1.1\n    hint: put it in quotes",
        ),
        (
            "summary",
            "",
            "7:9: M123 summary should be text, not empty\n"
            "    hint: give it a value, or remove the key",
        ),
        (
            "licence",
            "{a: b}",
            "7:10: M123 licence should be a list, not a mapping\n"
            "    hint: a list stands in brackets: [a, b]",
        ),
        (
            "publishes",
            "[tiny]",
            "7:13: M134 'tiny' in publishes[0] is not a hub ID\n    hint: write owner/name",
        ),
        (
            "provenance",
            "[{what: a}]",
            "7:14: M122 provenance[0] needs the key 'from'\n"
            "    hint: from: What it was made from: a hub ID, an address, or a paper.",
        ),
        (
            "wiht",
            "1",
            "7:1: M121 unknown key 'wiht' in the bundle\n"
            "    hint: keys here: composer, name, summary, licence, provenance, "
            "publishes, recognises, sources, packages, accepts, components, variants, tasks, "
            "inputs, graph, outputs",
        ),
        (
            "sources",
            "{Repo: ./x}",
            "7:11: M125 'Repo' in sources is not a name" + NAME_HINT,
        ),
        (
            "sources",
            "{r: ../x}",
            "7:14: M127 '../x' is not a source: '..' leaves the folder" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: ./x/../../y}",
            "7:14: M127 './x/../../y' is not a source: '..' leaves the folder" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: /etc}",
            "7:14: M127 '/etc' is not a source: it is not relative" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: ~/x}",
            "7:14: M127 '~/x' is not a source: it is not relative" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: 'C:/x'}",
            "7:14: M127 'C:/x' is not a source: it is not relative" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: 'file:///x'}",
            "7:14: M127 'file:///x' is not a source: addresses are not allowed" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: 'https://hf.co/a/b'}",
            "7:14: M127 'https://hf.co/a/b' is not a source: addresses are not allowed\n"
            "    hint: write hf:a/b",
        ),
        (
            "sources",
            "{r: a/b}",
            "7:14: M127 'a/b' is not a source: a folder begins with ./ and a hub "
            "repository with hf:\n"
            "    hint: write hf:a/b, or ./a/b if it is a folder",
        ),
        (
            "sources",
            "{r: './a\\b'}",
            "7:14: M127 './a\\b' is not a source: it has a backslash or a control "
            "character" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: .//b}",
            "7:14: M127 './/b' is not a source: it is not relative" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: 'hf:a'}",
            "7:14: M127 'hf:a' is not a source: a hub repository is owner/name" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: 'hf:a/b@../x'}",
            "7:14: M127 'hf:a/b@../x' is not a source: a hub repository is owner/name"
            + SOURCE_HINT,
        ),
        (
            "sources",
            '{r: "hf:a/b\\n"}',
            "7:14: M127 'hf:a/b' is not a source: a hub repository is owner/name" + SOURCE_HINT,
        ),
        (
            "sources",
            "{r: ''}",
            "7:14: M124 sources.r is empty\n    hint: give it a value",
        ),
        (
            "components",
            "{d: {}}",
            "6:14: M122 components.d needs the key 'use'\n"
            "    hint: use: The kind of component; `composer list --components` lists them.",
        ),
        (
            "components",
            "{d: 3}",
            "6:17: M123 components.d should be a mapping of keys to values, not the number 3\n"
            "    hint: its keys: use, weights, files, precision, config, emits, adapters",
        ),
        (
            "components",
            "{d: {use: MLX}}",
            "6:23: M125 'MLX' in components.d.use is not a kind of component\n"
            "    hint: kinds look like lm or audio.log_mel",
        ),
        (
            "components",
            "{d: {use: x, presicion: 1}}",
            "6:26: M121 unknown key 'presicion' in components.d; did you mean "
            "'precision'?\n"
            "    hint: keys here: use, weights, files, precision, config, emits, adapters",
        ),
        (
            "components",
            "{d: {use: x, precision: mixed-84}}",
            "6:37: M124 components.d.precision cannot be 'mixed-84'; did you mean 'mixed-8-4'?\n"
            "    hint: choose from: float32, float16, bfloat16, ple-safe-4bit, ple-safe-6bit, "
            "ple-safe-8bit, mixed-8-4, mixed-8-6, mixed-6-4, uniform-4, uniform-6, uniform-8, "
            "int8, int8-dynamic, mxfp4, mxfp8 and 1 more",
        ),
        (
            "components",
            "{d: {use: x, precision: {bits: 8, mode: mxfp4}}}",
            "6:37: M124 components.d.precision: bits '8' in mode mxfp4; expected one of 4",
        ),
        (
            "components",
            "{d: {use: x, precision: {mode: nvfp4, rules: {a: 8}}}}",
            "6:37: M124 components.d.precision: the rule 'a' has bits '8' in mode nvfp4; expected "
            "one of 4",
        ),
        (
            "components",
            "{d: {use: x, precision: {recipe: mxfp4, bits: 4}}}",
            "6:37: M124 components.d.precision: mxfp4 has bits, a group size and a mode of its own",
        ),
        (
            "components",
            "{d: {use: x, precision: {recipe: mixed, keep: [a]}}}",
            "6:46: M124 components.d.precision.recipe cannot be 'mixed'; "
            "did you mean 'mixed-8-6'?\n"
            "    hint: choose from: ple-safe-4bit, ple-safe-6bit, ple-safe-8bit, mixed-8-4, "
            "mixed-8-6, mixed-6-4, uniform-4, uniform-6, uniform-8, int8, int8-dynamic, mxfp4, "
            "mxfp8, nvfp4",
        ),
        (
            "components",
            "{d: {use: x, precision: {bits: 7}}}",
            "6:44: M124 components.d.precision.bits cannot be the number 7\n"
            "    hint: choose from: 2, 3, 4, 5, 6, 8",
        ),
        (
            "components",
            "{d: {use: x, config: [1]}}",
            "6:34: M123 components.d.config should be a mapping of keys to values, not a list\n"
            "    hint: write each entry as name: value",
        ),
        (
            "components",
            "{d: {use: x, weights: }}",
            "6:35: M123 components.d.weights has no value\n"
            "    hint: give it one, or remove the key",
        ),
        (
            "components",
            "{d: {use: x, weights: r/x}}",
            "6:35: M129 'r' in components.d.weights is not a source\n"
            "    hint: a repository is a source: sources: {repo: hf:r/x}; declare it under sources",
        ),
        (
            "components",
            "{d: {use: x, weights: ../x}}",
            "6:35: M128 components.d.weights is not a path inside a source: '..' leaves "
            "the folder" + PATH_HINT,
        ),
        (
            "components",
            "{d: {use: x, files: /etc/passwd}}",
            "6:33: M128 components.d.files is not a path inside a source: it is not "
            "relative" + PATH_HINT,
        ),
        (
            "components",
            "{d: {use: x, files: 'http://a/b'}}",
            "6:33: M128 components.d.files is not a path inside a source: addresses are "
            "not allowed" + PATH_HINT,
        ),
        (
            "components",
            "{d: {use: x, files: 'hf:a/b'}}",
            "6:33: M128 components.d.files is not a path inside a source: a repository "
            "is declared under sources" + PATH_HINT,
        ),
        (
            "components",
            "{d: {use: x, files: a//b}}",
            "6:33: M128 components.d.files is not a path inside a source: a part of it "
            "is empty" + PATH_HINT,
        ),
        (
            "components",
            "{d: {use: x, emits: embed}}",
            "6:33: M134 'embed' in components.d.emits is not a space\n"
            "    hint: write component.space, such as decoder.embed",
        ),
        (
            "inputs",
            "{audio: audoi}",
            "6:17: M124 inputs.audio cannot be 'audoi'; did you mean 'audio'?" + INPUTS,
        ),
        (
            "inputs",
            "{audio: {default: x}}",
            "6:10: M122 inputs.audio needs the key 'type'\n"
            "    hint: type: What kind of value this is.",
        ),
        (
            "inputs",
            "{audio: tensor}",
            "6:17: M122 inputs.audio is a tensor and needs the key 'port'\n"
            "    hint: write {type: tensor, port: f32 M F}: the dtype, then the dims",
        ),
        (
            "inputs",
            "{audio: {type: tensor, port: f32 -}}",
            "6:38: M136 inputs.audio.port: '-' in 'f32 -' is neither a number, a symbol nor '_'",
        ),
        (
            "inputs",
            "{audio: {type: audio, port: f32 T}}",
            "6:31: M135 inputs.audio is audio and takes no 'port'\n"
            "    hint: remove it, or make it a tensor",
        ),
        (
            "inputs",
            "{audio: {type: text, default: 3}}",
            "6:39: M123 inputs.audio.default should be text, not the number 3\n"
            "    hint: put it in quotes",
        ),
        (
            "inputs",
            "{audio: {type: ids, default: [a]}}",
            "6:38: M123 inputs.audio.default should be a list of whole numbers",
        ),
        (
            "inputs",
            "{audio: {type: audio, default: x}}",
            "6:31: M135 inputs.audio is audio and takes no 'default'\n    hint: remove it",
        ),
        (
            "graph",
            "{}",
            "6:8: M124 graph is empty\n    hint: it needs at least one entry",
        ),
        (
            "graph",
            "{audio: {run: features}}",
            "6:9: M126 'audio' is already the name of an input\n"
            "    hint: give the node another name",
        ),
        (
            "graph",
            "{Mel: {run: features}}",
            "6:9: M125 'Mel' in graph is not a name" + NAME_HINT,
        ),
        (
            "graph",
            "{mel: {run: $features}}",
            "6:20: M134 '$features' in graph.mel.run cannot be run\n"
            "    hint: write a component, component.method, or an operator, without '$'",
        ),
        (
            "graph",
            "{mel: {run: features, with: [1]}}",
            "6:36: M123 graph.mel.with should be a mapping of keys to values, not a list\n"
            "    hint: write each entry as name: value",
        ),
        (
            "graph",
            None,
            "1:1: M122 the bundle needs the key 'graph'\n"
            "    hint: write graph and outputs, or several tasks under 'tasks'",
        ),
        (
            "outputs",
            "{mel: mel}",
            "6:16: M134 'mel' in outputs.mel is not a value of the graph\n"
            "    hint: write $node or $node.output",
        ),
        (
            "tasks",
            "{a: {graph: {m: {run: features}}, outputs: {m: $m}}}",
            "4:1: M131 'inputs' cannot be used together with 'tasks'\n"
            "    hint: move inputs and graph and outputs into one of the tasks",
        ),
        (
            "variants",
            "{a: 3}",
            "7:15: M123 variants.a should be a mapping of keys to values, not the number 3\n"
            "    hint: write each entry as name: value",
        ),
        (
            "variants",
            "{a: {variants: {}}}",
            "7:16: M133 a variant cannot change 'variants'\n    hint: remove it",
        ),
    ],
)
def test_what_is_refused(key, value, message):
    assert error_text(bundle(**{key: value})) == f"b.yaml:{message}"

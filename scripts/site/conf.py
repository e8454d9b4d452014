"""How Sphinx builds the site: which pages, in which order, and the reference from docstrings."""

import posixpath
from importlib import metadata
from pathlib import Path

import composer

ROOT = Path(__file__).parents[2]
CONTENTS = {
    "Start": [
        "docs/tutorial",
        "docs/tutorial-model",
        "docs/cli",
        "docs/reference",
        "docs/architecture",
    ],
    "Guides": [
        "docs/guides/manifests",
        "docs/guides/published",
        "docs/guides/python",
        "docs/guides/serving",
        "docs/guides/aligning",
        "docs/guides/precision",
        "docs/guides/comparing",
        "docs/guides/evaluating",
        "docs/guides/batch",
        "docs/guides/components",
        "docs/guides/cookbook",
        "docs/guides/mirror",
    ],
    "More": [
        "docs/errors/README",
        "docs/coverage",
        "docs/audio",
        "docs/checkpoints",
        "docs/security",
        "docs/benchmarks",
        "docs/precision",
        "docs/decisions/README",
        "bundles/mega-asr-mini/README",
        "bundles/elderwise-mini/README",
        "bundles/aligner-mini/README",
        "training/README",
        "CONTRIBUTING",
        "CHANGELOG",
    ],
}
UNLISTED = ("docs/errors", "docs/decisions")  # hundreds: their own README lists them

project = "Composer"
author = "The Composer developers"
release = metadata.version("bundle-composer")
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = [
    "*.md",
    "docs/**.md",
    "bundles/*/README.md",
    "training/README.md",
]
html_theme = "furo"
html_title = "Composer"
html_copy_source = False
html_extra_path = ["extra"]  # index.html, which leads to the README
myst_heading_anchors = 3
myst_enable_extensions = ["html_image"]
autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
nitpicky = False


def contents(app, page, source):
    """Give the pages that list others a table of contents, and the reference its entries."""
    if page == root_doc:
        trees = [_tree(pages, title) for title, pages in CONTENTS.items()]
        source[0] += "\n".join(trees)
    elif page == "docs/reference":
        source[0] += _reference()
    elif posixpath.dirname(page) in UNLISTED and not page.endswith("/README"):
        source[0] = "---\norphan: true\n---\n" + source[0]


def _tree(pages, title):
    entries = "\n".join(f"/{page}" for page in pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```\n"


def _reference():
    """Return a directive for every public name, which autodoc replaces by its docstring."""
    parts = [f".. {_directive(name)}:: composer.{name}\n" for name in composer.__all__]
    return "\n## In full\n\n```{eval-rst}\n" + "\n".join(parts) + "```\n"


def _directive(name):
    return "autoclass" if isinstance(getattr(composer, name), type) else "autofunction"


def plain_text(app, what, name, obj, options, lines):
    """Read docstrings as what they are: plain text, with code between backticks."""
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [part.replace("*", r"\*").replace("|", r"\|") for part in parts[::2]]
        lines[number] = "``".join(parts)


def setup(app):
    """Register the handlers."""
    app.connect("source-read", contents)
    app.connect("autodoc-process-docstring", plain_text)

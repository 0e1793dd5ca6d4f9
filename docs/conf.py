"""How Sphinx builds the guide: pip install '.[docs]' && sphinx-build -W docs build/site."""

import sys
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import numact

sys.path.insert(0, str(Path(__file__).parent))
import pages
import pictures
import run_examples

project = "numact"
author = "The numact developers"
version = release = numact.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["generated/*.md"]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
html_theme = "furo"
html_title = f"numact {version}"
html_show_copyright = False
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["guide.css"]
html_math_renderer = "mathml"  # browsers draw it themselves: the site asks no other host for scripts


def math(translator, node):
    """Write an equation as MathML."""
    display = "block" if node.tagname == "math_block" else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise SkipNode


def without_mechanism(app, what, name, item, options, lines):
    """Drop from an activation's notes what its page says at the top already; keep |x| from being a substitution."""
    if isinstance(item, numact.Activation):
        text = "\n".join(lines).replace("|", r"\|")
        start, end = text.index("\nNotes\n-----\n"), text.index("\nReferences\n")
        kept = text[start:end].find("`.backward`")
        notes = "\nNotes\n-----\n" + text[start + kept : end] if kept >= 0 else ""
        lines[:] = (text[:start] + notes + text[end:]).split("\n")


def generate(app):
    """Write what comes from the registry, from the examples and from measurements."""
    folder = Path(app.srcdir) / "generated"
    pictures.write(folder)
    pages.write(folder)
    run_examples.write(folder)


def setup(app):
    """Hook the above into Sphinx."""
    app.add_html_math_renderer("mathml", (math, None), (math, None))
    app.connect("autodoc-process-docstring", without_mechanism, priority=400)  # before numpydoc
    app.connect("builder-inited", generate)

# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes the site: pages in Markdown as they are, and the reference that antsibull-docs has generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils.nodes import document, literal_block
from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "usdx.rollback"
author = "usdx.rollback contributors"
copyright = author  # noqa: A001 - the name that Sphinx asks for
extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "sphinx_rtd_theme"
html_title = "usdx.rollback"
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 4
suppress_warnings = [
    "ref.ref",  # pages of Ansible's own site, which the generated reference names
]
# Everything is in the site: it is read on a machine that reaches nothing else.
html_static_path = ["static"]


def setup(app: Sphinx) -> None:
    """Make Sphinx know the language of diagrams; one that it does not know is a warning."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("html-page-context", add_mermaid)


def add_mermaid(app: Sphinx, _page: str, _template: str, _context: dict[str, Any], tree: document | None) -> None:
    """Let a page with diagrams draw them by Mermaid, from plain scripts: a browser loads no modules from a disk."""
    if tree and any(block.get("language") == "mermaid" for block in tree.findall(literal_block)):
        app.add_css_file("diagrams.css")
        app.add_js_file("mermaid.min.js")
        app.add_js_file("diagrams.js")

# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes the site: pages in Markdown as they are, and the reference that antsibull-docs has generated."""

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
    "myst.xref_missing",  # files of the repository that a page links to and that are no page of the site
    "ref.ref",  # pages of Ansible's own site, which the generated reference names
    "misc.highlighting_failure",  # pictures in the language of Mermaid, which GitHub draws and this site shows as text
]
# Everything is in the site: it is read on a machine that reaches nothing else.
html_static_path: list[str] = []

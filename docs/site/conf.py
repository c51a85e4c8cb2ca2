"""Sphinx's settings for the site of `make docs`: every page of the repository, in the order of docs/README.md.

Sphinx, because it was the best kept of the generators when we chose (December 2026): it and MyST had releases in the
last six weeks, it finds dead links and anchors by itself, and its search needs no server. MkDocs 1, on which Material
for MkDocs stands, had had no release for two years, and Zensical was at 0.1.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

CHECKOUT = Path(__file__).resolve().parents[2]
ORDER = "docs/README"
PART = re.compile(r"^## ([^:\n]+)")
PAGE = re.compile(r"^\d+\. \[[^]]+\]\(([^)#]+)\.md\)")

project = "Currant"
author = "the authors of Currant"
root_doc = "README"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
# The source directory is the checkout, so that a link from a page to the README or to a program is one on the site too.
include_patterns = ["**.md"]
exclude_patterns = [".*", "**/.*", "**/tests", "core/migrations", "core/target", "dist", "**/node_modules"]

nitpicky = True
myst_heading_anchors = 6
myst_fence_as_directive = ["mermaid"]
# JSON with an ellipsis is no JSON: it is shown without colours.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "sphinx_book_theme"
html_title = "Currant"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "index.html"}
templates_path = ["templates"]
html_copy_source = False
html_show_copyright = False
html_theme_options: dict[str, Any] = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
}
pygments_style = "friendly"

# Diagrams are drawn here, by the real Mermaid in a small JavaScript engine: that takes no browser, and reading them no
# network.
mermaid_output_format = "svg"
mermaid_cmd = f"{sys.executable} -m mermaidx"
mermaid_params = ["--quiet", "--theme", "neutral", "--background", "white"]


def parts(order: str) -> dict[str, list[str]]:
    """The pages of each part, by its name, from the text of docs/README.md."""
    found: dict[str, list[str]] = {}
    for line in order.splitlines():
        if part := PART.match(line):
            pages = found.setdefault(part[1], [])
        elif page := PAGE.match(line):
            pages.append(posixpath.normpath(posixpath.join("docs", page[1])))
    return found


def add_order(_app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page the table of contents that the side bar shows. A page outside of it is an error."""
    if name != root_doc:
        return
    order = parts((CHECKOUT / f"{ORDER}.md").read_text(encoding="utf-8"))
    for part, pages in {"": [ORDER], **order}.items():
        options = [":hidden:", *([f":caption: {part}"] if part else [])]
        source[0] += "\n\n```{toctree}\n" + "\n".join([*options, "", *pages]) + "\n```\n"


def link_directories(app: Sphinx, document: nodes.document) -> None:
    """Let a link to a directory lead to its README, or to the map of all directories where it has none."""
    for link in document.findall(addnodes.pending_xref):
        if link["reftype"] != "myst" or link["refdomain"] is not None:
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(link["refdoc"]), link["reftarget"]))
        if not (CHECKOUT / path).is_dir():
            continue
        described = f"{path}/README" in app.env.found_docs
        link["refdomain"] = "doc"
        link["reftarget"], link["reftargetid"] = (f"{path}/README", None) if described else ("CONTRIBUTING", "the-map")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_order)
    app.connect("doctree-read", link_directories)
    return {"parallel_read_safe": True}

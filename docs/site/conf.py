"""Sphinx's settings for the site of `make docs`: every page of the repository, in the order of docs/README.md.

Sphinx, because it was the best kept of the generators when we chose (December 2026): it and MyST had releases in the
last six weeks, it finds dead links and anchors by itself, and its search needs no server. MkDocs 1, on which Material
for MkDocs stands, had had no release for two years, and Zensical was at 0.1.
"""

from __future__ import annotations

import posixpath
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinxcontrib.mermaid import mermaid

CHECKOUT = Path(__file__).resolve().parents[2]
ORDER = "docs/README"
PART = re.compile(r"^## ([^:\n]+)")
PAGE = re.compile(r"^\d+\. \[[^]]+\]\(([^)#]+)\.md\)")
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
FILE_NAME = re.compile(r"[\w./-]+\.md")

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
myst_enable_extensions = ["tasklist"]
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
    "navbar_persistent": [],  # the search is in the side bar
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


@cache
def short_title(page: str) -> str:
    """The title of a page as far as the first colon, for tables of contents and links."""
    title = TITLE.search((CHECKOUT / f"{page}.md").read_text(encoding="utf-8"))
    return title[1].partition(":")[0].replace("`", "") if title else page


def add_order(_app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page the table of contents that the side bar shows. A page outside of it is an error."""
    if name != root_doc:
        return
    order = parts((CHECKOUT / f"{ORDER}.md").read_text(encoding="utf-8"))
    for part, pages in order.items():
        lines = [":hidden:", f":caption: {part}", "", *(f"{short_title(page)} <{page}>" for page in pages)]
        source[0] += "\n\n```{toctree}\n" + "\n".join(lines) + "\n```\n"
    source[0] += f"\n\n```{{toctree}}\n:hidden:\n\nAll pages in their order </{ORDER}>\n```\n"


def adapt_links(app: Sphinx, document: nodes.document) -> None:
    """Let links lead to pages by their titles, and to directories by their READMEs."""
    for link in document.findall(addnodes.pending_xref):
        if link["reftype"] != "myst":
            continue
        if link["refdomain"] is None:
            lead_to_page(app, link)
        if link["refdomain"] == "doc" and FILE_NAME.fullmatch(link.astext()):
            link[0].children = [nodes.Text(short_title(link["reftarget"]))]


def mark_charts(_app: Sphinx, document: nodes.document) -> None:
    """Let the style sheet tell charts, which it turns dark on dark pages, from pictures; the theme would grey both."""
    for image in document.findall(nodes.image):
        if "charts" in image["uri"].split("/"):
            image["classes"] += ["chart", "dark-light"]


def frame_diagrams(_app: Sphinx, document: nodes.document) -> None:
    """Put each diagram into a box of its own, which the style sheet lets scroll on a narrow screen."""
    for diagram in list(document.findall(mermaid)):
        diagram.replace_self(nodes.container("", diagram.deepcopy(), classes=["diagram"]))


def lead_to_page(app: Sphinx, link: addnodes.pending_xref) -> None:
    """Let a link to a directory lead to its README, or to the map of all directories where it has none."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(link["refdoc"]), link["reftarget"]))
    if not (CHECKOUT / path).is_dir():
        return
    described = f"{path}/README" in app.env.found_docs
    link["refdomain"] = "doc"
    link["reftarget"], link["reftargetid"] = (f"{path}/README", None) if described else ("CONTRIBUTING", "the-map")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_order)
    app.connect("doctree-read", adapt_links)
    app.connect("doctree-read", mark_charts)
    app.connect("doctree-read", frame_diagrams)
    return {"parallel_read_safe": True}

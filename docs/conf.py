"""The site: these pages as Sphinx makes them, without a network. `make docs` builds it into docs/_build/html."""

import re
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

ROOT = Path(__file__).resolve().parents[1]

project = html_title = "sweepstake"
extensions = ["myst_parser"]
myst_heading_anchors = 4

# The whole repository is the source, so that a link is the same relative link in a page here and on a code host.
root_doc = "docs/index"
include_patterns = ["CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md"]
exclude_patterns = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "docs"] + ["docs/_build"]

html_theme = "furo"
html_copy_source = False
html_show_copyright = False


def contents(app: Any, page: str, source: list[str]) -> None:
    """The sidebar, read off the lists of the first page: a heading is a caption, a link of its list an entry."""
    if page != root_doc:
        return
    captions = re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]
    for caption, _, lists in (each.partition("\n") for each in captions):
        entries = [f"{title} <{path}>" for title, path in re.findall(r"^- \[(.*?)\]\((.*?)\.md\)", lists, re.MULTILINE)]
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```", ""])


def door(app: Any, failed: Exception | None) -> None:
    """An index.html at the top of the site, which leads to its first page."""
    if failed is None:
        (Path(app.outdir) / "index.html").write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={root_doc}.html">\n',
                                                     encoding="utf-8")


def setup(app: Any) -> None:
    app.add_lexer("txt", TextLexer)
    app.connect("source-read", contents)
    app.connect("build-finished", door)

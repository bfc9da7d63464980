"""Pages of the repository's other files: guides that lie beside the code, and code linked to.

Pages in docs/ link to files as they lie in the repository, for who reads them there. A page that is
nothing but one such link becomes that file. Elsewhere a link to a file with a page of its own leads
to that page, and one to any other file, or folder, to a page that shows it.
"""

import posixpath
import re
from contextlib import suppress

from docutils import nodes
from pygments.lexers import guess_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.util.osutil import relative_uri

from _site.listing import ROOT

DOCS = ROOT / "docs"
STUB = re.compile(r"\[[^]]+\]\(([^)]+)\)\s*")
LINK = re.compile(r"(?<=\]\()(?![\w+.-]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)

# page -> the file that is its text
ELSEWHERE = {
    page.stem: posixpath.normpath(f"docs/{stub[1]}")
    for page in DOCS.glob("*.md")
    if (stub := STUB.fullmatch(page.read_text(encoding="utf-8")))
}
PAGE_OF = {path: page for page, path in ELSEWHERE.items()}


def _with_links(page, text, shown):
    """Return a page's text with links as from docs/PAGE.md; add to `shown` what they lead to."""
    folder = posixpath.dirname(ELSEWHERE.get(page, f"docs/{page}"))
    here = posixpath.dirname(f"docs/{page}")

    def link(match):
        target, anchor = match[1], match[2] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if not (ROOT / path).exists():
            raise ValueError(f"docs/{page}: a link to {target}, where nothing is")
        if path in PAGE_OF:
            path = f"docs/{PAGE_OF[path]}.md"
        elif not path.startswith("docs/"):
            shown.add(path)
            return f"source:{path}"
        return posixpath.relpath(path, here) + anchor

    pieces, end = [], 0
    for fence in FENCE.finditer(text):
        pieces += [LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, LINK.sub(link, text[end:])])


def _begin(app, env, names):
    if not hasattr(env, "pycnn_shown"):
        env.pycnn_shown = set()


def _read(app, page, source):
    if page in ELSEWHERE:
        source[0] = (ROOT / ELSEWHERE[page]).read_text(encoding="utf-8")
    if app.env.doc2path(page).suffix == ".md":
        source[0] = _with_links(page, source[0], app.env.pycnn_shown)


def _link(app, doctree, page):
    for node in doctree.findall(nodes.reference):
        path = node.get("refuri", "").partition("source:")[2]
        if path:
            here, there = map(app.builder.get_target_uri, (page, f"source/{path}"))
            node["refuri"] = relative_uri(here, there)
            node["internal"] = True


def _show(app):
    for path in sorted(app.env.pycnn_shown):
        file, language = ROOT / path, "text"
        if file.is_dir():
            names = (p.name + "/" * p.is_dir() for p in file.iterdir())
            text = "\n".join(sorted(name for name in names if name[0] not in "._"))
        else:
            text = file.read_text(encoding="utf-8")
            with suppress(ClassNotFound):
                language = guess_lexer_for_filename(path, text).aliases[0]
        listing = app.builder.highlighter.highlight_block(text, language)
        yield f"source/{path}", {"title": path, "body": f"<h1>{path}</h1>\n{listing}"}, "page.html"


def setup(app):
    """Go into Sphinx's reading and writing of pages."""
    app.connect("env-before-read-docs", _begin)
    app.connect("source-read", _read)
    app.connect("doctree-resolved", _link)
    app.connect("html-collect-pages", _show)
    return {"parallel_read_safe": False, "parallel_write_safe": True}

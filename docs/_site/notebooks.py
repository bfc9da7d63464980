"""The lecture's chapters as notebooks: run while the site is built, their outputs on the pages too.

A chapter's Python runs in a kernel of its own, cell after cell, and must not fail. The page shows
behind each cell what it printed or drew, and offers the notebook, outputs included.
"""

import os
import re
import tempfile
from html import escape
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

from _site.listing import LINE, function
from _site.sources import DOCS

CELL = re.compile(r"^```(python|\{beside\})\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LOCAL = re.compile(r"(?<=\]\()([^):]+)\.(?:md|rst)(?=\))")


def _listings(lines):
    found = (LINE.fullmatch(line) for line in lines.split("\n") if line)
    each = ((match[1], *function(match[1], match[2])) for match in found)
    return "\n\n".join(f"`{path}`:\n\n```{language}\n{text}\n```" for path, text, language in each)


def notebook(chapter):
    """Return a chapter as a notebook whose cells have run."""
    cells, prose, end = [], "", 0
    text = (DOCS / f"{chapter}.md").read_text(encoding="utf-8")

    def write(source):
        if source.strip():
            source = LOCAL.sub(r"\1.html", source.strip())
            cells.append(nbformat.v4.new_markdown_cell(source))

    for cell in CELL.finditer(text):
        prose += text[end : cell.start()]
        end = cell.end()
        if cell[1] == "python":
            write(prose)
            prose = ""
            cells.append(nbformat.v4.new_code_cell(cell[2].rstrip()))
        else:
            prose += _listings(cell[2])
    write(prose + text[end:])
    for number, each in enumerate(cells):
        each["id"] = str(number)  # and not a random one
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    with tempfile.TemporaryDirectory() as folder:
        sockets = {"transport": "ipc", "ip": f"{folder}/kernel"} if os.name == "posix" else {}
        config = Config(KernelManager=sockets)
        NotebookClient(book, record_timing=False, coalesce_streams=True, config=config).execute()
    for each in book.cells:
        if each.cell_type == "code":  # without progress bars
            each.outputs = [out for out in each.outputs if out.get("name") != "stderr"]
    book.metadata.pop("language_info", None)
    return book


def _shown(output):
    if output.output_type == "stream":
        return f'<pre class="output" tabindex="0">{escape(output.text.rstrip())}</pre>'
    data = output.data
    if "image/png" in data:
        source = f"data:image/png;base64,{data['image/png'].strip()}"
        return f'<img class="output" alt="what the code above draws" src="{source}">'
    if "image/svg+xml" in data or "text/html" in data:
        shown = data.get("image/svg+xml") or data["text/html"]
        return f'<div class="output" tabindex="0">{shown}</div>'
    return f'<pre class="output" tabindex="0">{escape(data["text/plain"])}</pre>'


def _begin(app):
    chapters = sorted(f"lecture/{path.stem}" for path in DOCS.glob("lecture/*.md"))
    app.pycnn_notebooks = {chapter: notebook(chapter) for chapter in chapters}


def _read(app, page, source):
    book = app.pycnn_notebooks.get(page)
    if book is None:
        return
    outputs = iter([cell.outputs for cell in book.cells if cell.cell_type == "code"])

    def with_output(cell):
        if cell[1] != "python":
            return cell[0]
        shown = "".join(map(_shown, next(outputs)))
        return f"{cell[0]}\n\n```{{raw}} html\n{shown}\n```" if shown else cell[0]

    name = f"{Path(page).name}.ipynb"
    link = f'<p><a href="{name}" download>This chapter as a notebook</a></p>'
    source[0] = CELL.sub(with_output, source[0]) + f"\n\n```{{raw}} html\n{link}\n```\n"


def _finish(app, error):
    if error is None:
        for chapter, book in app.pycnn_notebooks.items():
            nbformat.write(book, Path(app.outdir) / f"{chapter}.ipynb")


def setup(app):
    """Run the chapters before pages are read, and write them behind the pages."""
    app.connect("builder-inited", _begin)
    app.connect("source-read", _read)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": False, "parallel_write_safe": True}

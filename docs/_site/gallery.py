"""The gallery: each program of examples/, what it says of itself, prints and draws.

Those that take a second or two are run while the site is built; of the others the pictures are in
docs/images.
"""

import ast
import base64
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from _site.listing import ROOT

STORED = {
    "deep_networks": ["deep_networks"],
    "overfitting": ["overfitting"],
    "looking": ["filters", "feature_maps", "saliency", "occlusion"],
    "recurrent_networks": ["time_gradients", "states"],
    "sequences": ["forecast"],
}
RUN = ["digits", "own_loop", "regression", "xor"]


def _run(path):
    """Return what an example prints and draws, as HTML."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, path]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        shown = f'<pre class="output" tabindex="0">{escape(done.stdout.rstrip())}</pre>'
        for picture in sorted(Path(folder).glob("*.png")):
            data = base64.b64encode(picture.read_bytes()).decode()
            alt = f"what {path.name} draws"
            shown += f'<img class="output" alt="{alt}" src="data:image/png;base64,{data}">'
    return shown


class Gallery(SphinxDirective):
    """A section for each example."""

    def run(self):
        """Return the sections."""
        sections = []
        for path in sorted((ROOT / "examples").glob("*.py")):
            title, _, text = ast.get_docstring(ast.parse(path.read_text())).partition("\n")
            section = nodes.section(ids=[path.stem])
            section += nodes.title(title, "", *self.parse_inline(title.rstrip("."))[0])
            where = f"examples/{path.name}"
            line = nodes.paragraph()
            line += nodes.reference("", where, refuri=f"source:{where}")
            self.env.pycnn_shown.add(where)
            section += [line, *self.parse_text_to_nodes(text)]
            if path.stem in RUN:
                section += nodes.raw("", _run(path), format="html")
            for name in STORED.get(path.stem, []):
                section += nodes.image(uri=f"images/{name}.png", alt=f"{name}, of {path.name}")
            sections.append(section)
        return sections


def setup(app):
    """Add the directive."""
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""A formula beside the functions that compute it: `beside`, whose text comes from the code itself.

A line of its content is `PATH FUNCTION` or `PATH FUNCTION: CODE`; the lines with CODE are marked.
What is no longer there is an error, so a page cannot tell of code that has changed.
"""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from _site.listing import LINE, ROOT, function


class Beside(SphinxDirective):
    """Listings of functions, each with a link to its file."""

    has_content = True

    def run(self):
        """Return the listings."""
        listings = []
        for line in filter(None, self.content):
            path, name, code = LINE.fullmatch(line).groups()
            text, language = function(path, name)
            block = nodes.literal_block(text, text, language=language)
            if code:
                marked = [n for n, each in enumerate(text.splitlines(), 1) if code in each]
                if not marked:
                    raise self.error(f"{path}: {name} has no line with {code!r}")
                block["highlight_args"] = {"hl_lines": marked}
            where = nodes.paragraph(classes=["beside"])
            where += nodes.reference("", path, refuri=f"source:{path}")
            where += nodes.Text(f", {name}")
            self.env.pycnn_shown.add(path)
            self.env.note_dependency(str(ROOT / path))
            listings += [where, block]
        return listings


def setup(app):
    """Add the directive."""
    app.add_directive("beside", Beside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

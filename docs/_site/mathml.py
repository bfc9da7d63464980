"""Formulas as MathML, made while the site is built: a browser needs no script for them."""

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _write(translator, node, block):
    try:
        translator.body.append(latex2mathml.tex2mathml(node.astext(), as_block=block))
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
    raise nodes.SkipNode


def setup(app):
    """Have Sphinx know the renderer."""
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda translator, node: _write(translator, node, False), None),
        block_renderers=(lambda translator, node: _write(translator, node, True), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}

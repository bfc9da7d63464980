"""The reference: `.. public:: MODULE` shows a module's docstring, and what its ``__all__`` names.

With names behind the module it is those alone. Each is documented once, where it comes from first;
a warning tells of public names that no page has.
"""

import re
from importlib import import_module
from types import ModuleType

from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import pycnn

logger = logging.getLogger(__name__)
# What a class has from these is told where they are, and not by each class anew.
BASES = (
    "Layer, Callback, Optimizer, Loss, Schedule, Initializer, Tokenizer, "
    "BaseEstimator, object, dict, tuple, Exception, BaseException, ImportError"
)
# A sign that starts markup in reStructuredText, and is what it is in a docstring.
SIGN = re.compile(r"(``.*?``|`[^`]*`)|(?<![\w*\\])(\*(?=[a-z])|\|(?=\S)|\|(?=\W|$))( {2,})?")


class Public(SphinxDirective):
    """A table of names, and what each of them is."""

    required_arguments = 1
    optional_arguments = 100

    def run(self):
        """Return what autodoc makes of the names."""
        name, *names = self.arguments
        module = import_module(name)
        lines = [f".. py:currentmodule:: {name}"] if names else [f".. automodule:: {name}"]
        names = names or module.__all__
        lines += ["", ".. autosummary::", "", *(f"   {each}" for each in names), ""]
        for each in names:
            value = getattr(module, each)
            kind = "class" if isinstance(value, type) else "function" if callable(value) else "data"
            lines += [f".. auto{kind}:: {each}"]
            if kind == "class":
                lines += ["   :members:", f"   :inherited-members: {BASES}"]
                lines += ["   :show-inheritance:"] * issubclass(value, BaseException)
            lines += [""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=False)


def _escape(match):
    if match[1]:
        return match[1]
    return f"\\{match[2]}{(match[3] or '')[1:]}"  # a table's columns stay where they are


def _docstring(app, kind, name, value, options, lines):
    lines[:] = [SIGN.sub(_escape, line) for line in lines]


def _skip(app, kind, name, value, skip, options):
    value = getattr(value, "fget", value)
    strange = str(getattr(value, "__module__", "")).startswith(("sklearn", "collections"))
    return True if strange or re.fullmatch(r"set_\w+_request", name) else None


def _check(app, env):
    known = {entry[0] for entry in env.get_domain("py").get_objects()}
    modules = [name for name in pycnn.__all__ if isinstance(getattr(pycnn, name), ModuleType)]
    for name in ["", ".sklearn", ".distributed", *(f".{module}" for module in modules)]:
        name = f"pycnn{name}"
        module = import_module(name)
        for public in module.__all__:
            value = getattr(module, public)
            places = {f"{name}.{public}", f"{getattr(value, '__module__', '')}.{public}"}
            if not known & places and not public.startswith("__"):
                logger.warning("%s.%s is public, and on no page of docs/reference", name, public)


def setup(app):
    """Add the directive, and look at its pages when all are read."""
    app.add_directive("public", Public)
    app.connect("autodoc-process-docstring", _docstring, priority=100)
    app.connect("autodoc-skip-member", _skip)
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

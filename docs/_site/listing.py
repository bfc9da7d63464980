"""A function's text, by its name, of C and of Python; without Sphinx, so that tests look too."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"(\S+) (\w+)(?:: (.*))?")


def _function_of_c(text, name):
    head = rf"^\w[^;=]*?\b(?:SUFFIX\()?{name}\)?\([^;]*?\)\s*(?:\{{.*\}}$|\n?\{{$)"
    found = re.search(head, text, re.MULTILINE)
    start, end = found.start(), found.end()
    if not found[0].endswith("}"):
        end = text.index("\n}\n", found.start()) + 2
    comment = re.search(r"/\*(?! -)(?:(?!\*/)[\s\S])*\*/\n\n?\Z", text[:start])
    return (comment[0] if comment else "") + text[start:end]


def _function_of_python(text, name):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
    raise LookupError(name)


def function(path, name):
    """Return a function's text, in C with the comment above it, and its language."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        return _function_of_python(text, name), "python"
    return _function_of_c(text, name), "c"

"""What Sphinx and the theme leave to be said to who does not see a page, or has no mouse."""

# Headings have a level, and what scrolls sideways is reached by the keyboard.
SAID = {
    'class="caption" role="heading"': 'class="caption" role="heading" aria-level="2"',
    'display="block">': 'display="block" tabindex="0">',
    "<pre>": '<pre tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
}
# viewcode's list of modules has lists beside its items, and not within them.
NESTED = {"</li>\n<ul>": "\n<ul>", "</ul><li>": "</ul></li>\n<li>", "</ul></ul>": "</ul></li></ul>"}


def _say(app, page, template, context, doctree):
    for part in ("body", "furo_navigation_tree"):
        for before, after in SAID.items():
            context[part] = context.get(part, "").replace(before, after)
    if page == "_modules/index":
        for before, after in NESTED.items():
            context["body"] = context["body"].replace(before, after)


def setup(app):
    """Go over each page behind the theme."""
    app.connect("html-page-context", _say, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

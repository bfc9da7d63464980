"""The documentation site: `sphinx-build -W -n --keep-going docs build/site`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pycnn  # noqa: E402

project = "pycnn"
author = copyright = "the pycnn contributors"
release = version = pycnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "_site.mathml",
    "_site.sources",
    "_site.beside",
    "_site.notebooks",
    "_site.gallery",
    "_site.api",
    "_site.accessible",
]
exclude_patterns = ["_site"]

# Pages are Markdown as GitHub has it: its anchors, its formulas.
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": None}
default_role = "py:obj"  # a name in a docstring's backticks is a link where it leads somewhere
nitpick_ignore_regex = [("py:obj", ".*")]

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types and shapes, more exactly
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

toc_object_entries_show_parents = "hide"
html_theme = "furo"
html_title = f"pycnn {version}"
html_static_path = ["_site/static"]
html_css_files = ["pycnn.css"]
html_math_renderer = "mathml"
html_last_updated_fmt = None  # two builds are the same bytes
html_copy_source = False
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")  # where the site has an address
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

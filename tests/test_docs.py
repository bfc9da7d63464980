"""The Python of README, guide and docstrings runs as it stands."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
import runpy
from pathlib import Path

import pytest

import pycnn

ROOT = Path(__file__).parents[1]
GUIDES = (
    "index",
    *(f"lecture/{page.stem}" for page in sorted((ROOT / "docs/lecture").glob("*.md"))),
    *("training", "tables", "images", "sequences", "language", "text"),
    *("export", "onnx", "weights", "sklearn", "keras", "pytorch", "recipes", "distributed"),
)
PAGES = ["README.md", *(f"docs/{guide}.md" for guide in GUIDES)]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def read(page):
    path = ROOT / page
    if not path.exists():
        pytest.skip("the tests are away from the source tree")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = read(page)
    for name, sign in (
        ("pandas", "import pandas"),
        ("matplotlib", "import plot"),
        ("sklearn", "from pycnn.sklearn"),
    ):
        if sign in text:
            pytest.importorskip(name)
    snippets = list(SNIPPET.finditer(text))
    assert snippets
    names, absent = {}, set()
    for snippet in snippets:
        needed = re.findall(r"^import (optuna|mlflow|wandb)$", snippet[1], re.MULTILINE)
        if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
            absent.update(missing)
            continue
        before = text.count("\n", 0, snippet.start(1))  # so that a traceback has the page's lines
        exec(compile("\n" * before + snippet[1], ROOT / page, "exec"), names)
    if absent:
        pytest.skip(f"all but what needs {', '.join(sorted(absent))} was run")


def test_another_program_checks_a_file_as_the_page_says(tmp_path, monkeypatch, capsys):
    (snippet,) = SNIPPET.findall(read("docs/model_files.md"))
    path = tmp_path / "model"
    net = pycnn.Network(2, [pycnn.Dense(1)], seed=0)
    net.save(path)
    monkeypatch.setattr("sys.argv", ["check", str(path)])
    exec(snippet, {})
    assert f"layers.1.W {net.layers[0].W}" in capsys.readouterr().out
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AssertionError, match="damaged or altered"):
        exec(snippet, {})


MODULES = sorted(module.name for module in pkgutil.walk_packages(pycnn.__path__, "pycnn."))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith(("_native", ".c"))])
def test_the_examples_of_the_docstrings_hold(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs {error.name}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "needed"), [("pycnn.plot", "matplotlib"), ("pycnn._perceptron", "sklearn")]
)
def test_examples_that_need_other_packages_hold_where_these_are(name, needed):
    pytest.importorskip(needed)
    runner, ran = doctest.DocTestRunner(), 0
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        for example in test.examples:
            ran += example.options.pop(doctest.SKIP, False)
        assert runner.run(test).failed == 0, test.name
    assert ran


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        "docs/defaults.md",
        "docs/extending.md",
        "docs/c.md",
        "docs/ffi.md",
        "docs/model_files.md",
        "CHANGELOG.md",
    ],
)
def test_links_lead_somewhere(page):
    text = read(page)
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings
        elif "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_site_has_each_page_and_each_function_that_the_lecture_shows():
    index = read("docs/index.md").split()
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"} <= set(index)
    listing = runpy.run_path(str(ROOT / "docs/_site/listing.py"))
    shown = [
        listing["LINE"].fullmatch(line).groups()
        for page in (ROOT / "docs/lecture").glob("*.md")
        for block in re.findall(r"^```\{beside\}\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
        for line in block.splitlines()
    ]
    assert len(shown) > 40
    for path, name, code in shown:
        text, _ = listing["function"](path, name)
        assert (code or name) in text, (path, name, code)

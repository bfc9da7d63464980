"""What is published: the version said the same everywhere, links that lead somewhere outside."""

import importlib.metadata
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "release.py"
TREE = {
    "pycnn/_version.py": '"""The version."""\n\n__version__ = "1.2.3"\n',
    "csrc/pycnn.h": '#define PYCNN_H\n#define PYCNN_VERSION "1.2.3"\n',
    "meson.build": "project(\n  version: '1.2.3',\n",
    "CHANGELOG.md": "# Changelog\n\n## 1.2.3 (2026-11-25)\n\n### Added\n\n## 1.2.2\n",
    "packaging/conda/recipe.yaml": 'context:\n  version: "1.2.3"\n',
}


@pytest.fixture
def problems(tmp_path):
    if not SCRIPT.exists():
        pytest.skip("no scripts beside the tests")

    def call(tag, **changes):
        for path, text in TREE.items():
            old, new = changes.get(Path(path).stem, ("", ""))
            assert old in text
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text.replace(old, new), encoding="utf-8")
        return runpy.run_path(str(SCRIPT))["problems"](tag, tmp_path)

    return call


def test_a_tag_that_all_agree_with_is_a_release(problems):
    assert problems("v1.2.3") == []
    assert problems("v1.2.3", CHANGELOG=(" (2026-11-25)", "")) == []


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2", "v1.2.3.dev1", "v1.2.3 ", "refs/tags/v1.2.3", ""])
def test_a_tag_of_another_form_is_none(problems, tag):
    assert problems(tag) == [f"{tag!r} is no tag of a release, such as v1.2.3"]


@pytest.mark.parametrize(
    ("place", "old", "new", "said"),
    [
        ("_version", "1.2.3", "1.2.4", "'1.2.4'"),
        ("pycnn", "1.2.3", "1.2.30", "'1.2.30'"),
        ("meson", "1.2.3", "1.2", "'1.2'"),
        ("CHANGELOG", "2026-11-25", "unreleased", "'1.2.3 (unreleased)'"),
        ("CHANGELOG", "## 1.2.3 (2026-11-25)", "## 1.3.0\n\n## 1.2.3", "'1.3.0'"),
        ("recipe", "version", "name", "None"),
    ],
)
def test_a_place_that_says_another_version_is_named(problems, place, old, new, said):
    (line,) = problems("v1.2.3", **{place: (old, new)})
    assert place in line
    assert f"says {said}, the tag '1.2.3'" in line


def test_the_recipe_asks_for_what_the_package_depends_on():
    recipe = ROOT / "packaging" / "conda" / "recipe.yaml"
    if not recipe.exists():
        pytest.skip("no source tree beside the tests")
    run = recipe.read_text(encoding="utf-8").partition("  run:\n")[2].partition("\n\n")[0]
    asked = dict(re.findall(r"- (\w+) >=([\d.]+)", run))
    requires = importlib.metadata.requires("pycnn")
    needed = dict(re.findall(r"^(\w+)>=([\d.]+)$", "\n".join(requires), re.M))
    assert needed
    assert {name: asked.pop(name, None) for name in needed} == needed
    assert asked == {}


def test_the_description_that_is_published_links_to_nothing_relative():
    description = importlib.metadata.metadata("pycnn").get_payload()
    description = description or importlib.metadata.metadata("pycnn")["Description"]
    links = re.findall(r"\]\(([^)]*)\)", description)
    assert len(links) > 5
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", description)
    assert [picture for picture in pictures if "/raw/" not in picture] == []


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "SECURITY.md", "fuzz/README.md", "packaging/README.md"]
)
def test_the_pages_for_contributors_link_to_files_that_are_there(page):
    path = ROOT / page
    if not path.exists():
        pytest.skip("no source tree beside the tests")
    text = path.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]*)\)", text)]
    links += re.findall(r"`((?:scripts|fuzz|requirements)/[\w/.]+\.\w+)", text)
    assert links
    links = [link for link in links if not link.startswith("https://")]
    assert [
        link for link in links if not ((path.parent / link).exists() or (ROOT / link).exists())
    ] == []


def test_the_addresses_that_are_published_are_one_repositorys():
    urls = importlib.metadata.metadata("pycnn").get_all("Project-URL")
    addresses = dict(url.split(", ") for url in urls)
    assert {"Source", "Documentation", "Changelog", "Issues"} <= set(addresses)
    assert all(address.startswith(addresses["Source"]) for address in addresses.values())

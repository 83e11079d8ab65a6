"""The documentation site: complete, without network access, with valid links."""

import html.parser
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import REPOSITORY


def build(root, site):
    environment = {k: v for k, v in os.environ.items() if k != "RANDROP_BUILD"}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", site],
        **{"cwd": root, "env": environment, "capture_output": True, "text": True},
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    result = build(REPOSITORY, folder)
    assert result.returncode == 0, result.stderr
    return folder


class Page(html.parser.HTMLParser):
    """The links of a page, the files that it loads, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.names, self.tables = [], [], set(), 0
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.names.add(found.get("id"))
        self.tables += tag == "table"
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("img", "script", "link") and found.get("rel") != "canonical":
            self.loaded.append(found.get("src") or found.get("href"))


def test_every_page_and_picture_is_there(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    sources = [*REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "proto/LAYERS.md"]
    assert len(pages) > len(sources)
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        assert not [name for name in filter(None, page.loaded) if "//" in name]
        for name in filter(None, [*page.loaded, *page.links]):
            parts = urlsplit(name)
            if parts.scheme:
                continue
            target = path
            if parts.path:
                target = Path(os.path.normpath(path.parent / unquote(parts.path)))
            assert target.exists(), f"{path}: {name}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].names, name


def test_tables_and_pictures_are_shown(site):
    """GitHub accepts a table next to a comment; so must the site."""
    home, speed = Page(site / "index.html"), Page(site / "docs/explanation/speed.html")
    assert "results/quickstart.jpg" in home.loaded
    assert home.tables == 1
    assert speed.tables == 8
    text = (site / "docs/explanation/speed.html").read_text()
    assert "<p>|" not in text


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("README.md", "docs/nowhere.md"),
        ("docs/changelog.md", "../results/nothing.png"),
        ("docs/how-to/evaluate.md", "../explanation/speed.md#nothing"),
    ],
)
def test_a_broken_link_fails(tmp_path, page, link):
    leave = shutil.ignore_patterns(
        "build", ".*", "caffe_layers", "tests", "__pycache__"
    )
    root = shutil.copytree(REPOSITORY, tmp_path / "copy", ignore=leave)
    with (root / page).open("a") as file:
        file.write(f"\n[broken]({link})\n")
    result = build(root, tmp_path / "site")
    assert result.returncode != 0
    assert link in result.stdout + result.stderr

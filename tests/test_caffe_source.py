"""Where Caffe's source comes from: apt's configuration, the cache, a copied tree."""

import gzip
import json
import shutil

import pytest

from caffe_tools import apt_config, origin, source
from caffe_tools.errors import ToolError

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None, reason="no apt-get on this machine"
)
DEFAULT = apt_config._default_key()

APT = {
    "deb822": (
        "debian.sources",
        "# comment\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n"
        "Components: main\nSigned-By: /keys/a.gpg\n\nTypes: deb\nComponents: main\n"
        "URIs: http://mirror.example/debian-security\nSuites: bookworm-security\n",
        [("http://mirror.example/debian", " /keys/a.gpg")],
    ),
    "a key block": (
        "debian.sources",
        "Types: deb\nURIs: http://m.example/debian/\nSuites: trixie\n"
        "Components: main contrib\nSigned-By:\n -----BEGIN PGP-----\n .\n abc\n",
        [("http://m.example/debian/", "\n -----BEGIN PGP-----\n .\n abc")],
    ),
    "two mirrors in a stanza": (
        "debian.sources",
        "Types: deb\nURIs: http://m.example/other http://n.example/debian\n"
        "Suites: trixie\nComponents: main\nSigned-By: /keys/a.gpg\n",
        [("http://n.example/debian", " /keys/a.gpg")],
    ),
    "one line": (
        "debian.list",
        "deb http://mirror.example/debian bookworm main # the mirror\n",
        [("http://mirror.example/debian", DEFAULT)],
    ),
    "one line with options": (
        "x.list",
        "deb [arch=amd64 signed-by=/keys/b.gpg] https://m.example/debian sid main\n",
        [("https://m.example/debian", " /keys/b.gpg")],
    ),
    "a line commented out": ("x.list", "# deb https://m.example/debian sid main\n", []),
    "a snapshot": (
        "x.list",
        "deb http://s.example/archive/debian/20250520T000000Z bookworm main\n",
        [("http://s.example/archive/debian/20250520T000000Z", DEFAULT)],
    ),
    "Debian's own before others'": (
        "x.list",
        "deb [signed-by=/keys/vendor.gpg] https://vendor.example/debian sid main\n"
        "deb [signed-by=/k/debian-archive.gpg] http://d.example/debian sid main\n",
        [
            ("http://d.example/debian", " /k/debian-archive.gpg"),
            ("https://vendor.example/debian", " /keys/vendor.gpg"),
        ],
    ),
    "another vendor's component": (
        "vendor.list",
        "deb [signed-by=/keys/v.gpg] https://vendor.example/linux/debian sid stable\n",
        [],
    ),
    "disabled": (
        "debian.sources",
        "Enabled: no\nTypes: deb\nURIs: http://mirror.example/debian\n"
        "Components: main\n",
        [],
    ),
    "Ubuntu": (
        "ubuntu.sources",
        "Types: deb\nURIs: http://archive.example/ubuntu/\nSuites: noble\n"
        "Components: main universe\n",
        [],
    ),
    "another file type": (
        "debian.list.save",
        "deb http://m.example/debian x main",
        [],
    ),
}


def write_apt(folder, name, text):
    (folder / "sources.list.d").mkdir(parents=True)
    (folder / "sources.list.d" / name).write_text(text)
    return folder


@pytest.mark.parametrize("case", APT)
def test_debian_archives_are_read_from_apt(tmp_path, case):
    name, text, expected = APT[case]
    assert apt_config.debian_archives(write_apt(tmp_path, name, text)) == expected


def test_a_mirror_list_is_followed(tmp_path):
    """Cloud images name a file that lists the mirrors, not a mirror."""
    found = {}
    for name in ("debian", "debian-security"):
        mirrors = tmp_path / f"{name}.list"
        mirrors.write_text(f"https://m.example/{name}\tpriority:1\n")
        uri = f"mirror+file://{mirrors}"
        text = f"Types: deb\nURIs: {uri}\nSuites: bookworm\nComponents: main\n"
        folder = write_apt(tmp_path / name, "debian.sources", text)
        found[name] = apt_config.debian_archives(folder)
    uri = f"mirror+file://{tmp_path}/debian.list"
    assert found == {"debian": [(uri, DEFAULT)], "debian-security": []}


@pytest.fixture
def package(caffe_source, tmp_path):
    """A downloaded source package of the test's own."""
    folder = tmp_path / "package"
    folder.mkdir()
    for file in caffe_source.parent.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    return next(folder.glob("*.dsc"))


def alter(package):
    """Change a word in the archive, and keep the archive valid."""
    archive = next(package.parent.glob("*.orig.tar.gz"))
    content = gzip.decompress(archive.read_bytes())
    assert b"Caffe" in content
    archive.write_bytes(gzip.compress(content.replace(b"Caffe", b"Caffx", 1)))


def test_the_cache_serves_without_an_archive(package, tmp_path):
    nowhere = tmp_path / "apt"
    tree = source.fetch(package.parent, nowhere)
    assert (tree / "src/caffe/proto/caffe.proto").exists()
    assert source.fetch(package.parent, nowhere) == tree


def test_an_altered_archive_is_refused(package):
    alter(package)
    with pytest.raises(
        ToolError, match=r"cannot unpack .*\.dsc.* differ from its list"
    ):
        source.fetch(package.parent)
    assert not (package.parent / "tree").exists()


def test_no_debian_archive_names_the_remedies(tmp_path):
    text = "deb http://archive.example/ubuntu noble main\n"
    apt = write_apt(tmp_path / "apt", "ubuntu.list", text)
    with pytest.raises(
        ToolError, match=r"no Debian archive.*--caffe-root DIR"
    ) as error:
        source.fetch(tmp_path / "cache", apt)
    assert "--source-package FILE.dsc" in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


@needs_apt
def test_a_suite_that_is_gone_is_named(tmp_path):
    archive = tmp_path / "debian"
    (archive / "dists" / "bookworm").mkdir(parents=True)
    text = f"deb file:{archive} bookworm main\n"
    apt = write_apt(tmp_path / "apt", "debian.list", text)
    with pytest.raises(ToolError, match="no longer has the suite bullseye") as error:
        source.fetch(tmp_path / "cache", apt)
    assert f"file:{archive}" in str(error.value)
    assert "--caffe-root DIR" in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


@needs_apt
def test_an_archive_that_nobody_signed_is_refused(tmp_path):
    suite = tmp_path / "debian" / "dists" / "bullseye"
    (suite / "main" / "source").mkdir(parents=True)
    (suite / "main" / "source" / "Sources").write_text("")
    (suite / "Release").write_text(
        "Suite: bullseye\nCodename: bullseye\nComponents: main\n"
        "Date: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n "
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 "
        "main/source/Sources\n"
    )
    text = f"deb file:{tmp_path / 'debian'} bullseye main\n"
    apt = write_apt(tmp_path / "apt", "debian.list", text)
    with pytest.raises(ToolError, match="has no key for suite bullseye"):
        source.fetch(tmp_path / "cache", apt)


def test_a_downloaded_package_is_taken_into_the_cache(package, tmp_path):
    cache = tmp_path / "cache"
    tree = source.take_package(package, cache)
    assert (tree / "src/caffe/proto/caffe.proto").exists()
    assert source.fetch(cache, tmp_path / "no apt") == tree
    shutil.rmtree(tree)
    assert source.fetch(cache, tmp_path / "no apt") == tree


def test_a_bad_package_leaves_the_cache_as_it_was(package, tmp_path):
    cache = tmp_path / "cache"
    (cache / "tree").mkdir(parents=True)
    alter(package)
    with pytest.raises(ToolError, match="differ from its list"):
        source.take_package(package, cache)
    next(package.parent.glob("*.orig.tar.gz")).unlink()
    with pytest.raises(
        ToolError, match=r"lists caffe.*orig\.tar\.gz, which must be beside it"
    ):
        source.take_package(package, cache)
    with pytest.raises(ToolError, match=r"is not a \.dsc file"):
        source.take_package(tmp_path / "caffe.zip", cache)
    assert [item.name for item in cache.iterdir()] == ["tree"]


@pytest.fixture
def users(tmp_path):
    """A tree that looks used: built, with history and weights."""
    tree = tmp_path / "users"
    for name in ("src/layer.cpp", "models/net.caffemodel", "build/CMakeCache.txt"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(name)
    for name in (
        ".git/config",
        "src/build/kept.cpp",
        "data/x_lmdb/data.mdb",
        "include/proto/caffe.pb.h",
        "python/_caffe.so",
    ):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(name)
    return tree


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_copy_leaves_builds_history_and_weights_behind(users, tmp_path):
    before = names(users)
    origin.place_tree(users, tmp_path / "b" / "caffe", print)
    expected = [origin.RECORD, "src/build/kept.cpp", "src/layer.cpp"]
    assert names(tmp_path / "b" / "caffe") == expected
    assert names(users) == before
    assert origin.origin(tmp_path / "b" / "caffe")["tree"] == str(users)


def test_a_copy_follows_the_tree_that_is_asked_for(users, tmp_path):
    said, copy = [], tmp_path / "caffe"
    origin.place_tree(users, copy, said.append)
    (copy / "build").mkdir()
    said.clear()
    origin.place_tree(users, copy, said.append)
    assert said == []
    assert (copy / "build").exists()

    (users / "src/layer.cpp").write_text("changed")
    origin.place_tree(users, copy, said.append)
    assert "a copy of an older state: replacing and rebuilding it" in said[0]
    assert (copy / "src/layer.cpp").read_text() == "changed"
    assert not (copy / "build").exists()

    other = tmp_path / "other"
    shutil.copytree(users, other)
    said.clear()
    origin.place_tree(other, copy, said.append)
    assert "a copy of another tree: replacing and rebuilding it" in said[0]
    assert origin.origin(copy)["tree"] == str(other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["caffe", "other", "users"]


def test_a_copy_of_unknown_origin_is_left_until_it_is_moved_away(users, tmp_path):
    copy = tmp_path / "caffe"
    copy.mkdir()
    (copy / origin.RECORD).write_text("{")
    with pytest.raises(ToolError, match=r"this script did not create .*move it"):
        origin.place_tree(users, copy, print)
    assert (copy / origin.RECORD).read_text() == "{"
    copy.rename(tmp_path / "away")
    origin.place_tree(users, copy, print)
    assert json.loads((copy / origin.RECORD).read_text())["tree"] == str(users)


def test_a_tree_is_not_copied_into_itself(users):
    with pytest.raises(ToolError, match=r"is inside .*RANDROP_BUILD.*--in-place"):
        origin.place_tree(users, users / "build" / "caffe", print)
    assert names(users / "build") == ["CMakeCache.txt"]

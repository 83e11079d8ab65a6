"""Where Caffe's source comes from: Debian, PyPI, a clone, the cache."""

import filecmp
import gzip
import os
import shutil
import subprocess
import sys

import pytest
from test_apt_config import write_apt

from caffe_tools import origin, patching, pypi_source, source
from caffe_tools.errors import ToolError

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None, reason="no apt-get on this machine"
)


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


UBUNTU = "deb http://archive.example/ubuntu noble main\n"


@pytest.fixture
def without_pypi(tmp_path):
    """A Python whose pip finds no registry."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPIP_NO_INDEX=1 exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return str(python)


@pytest.fixture(scope="session")
def from_pypi(tmp_path_factory):
    """A cache with PyPI's archive of Caffe, which tests only read."""
    cache = tmp_path_factory.mktemp("pypi")
    pypi_source.download(cache, sys.executable)
    return cache


@pytest.fixture(scope="session")
def bvlc(caffe_source, tmp_path_factory):
    """BVLC's own tree: Debian's package without Debian's patches; only read it."""
    packages = sorted(caffe_source.parent.glob("*.dsc"))
    if not packages:
        pytest.skip("Caffe's source is not Debian's package here")
    tree = tmp_path_factory.mktemp("bvlc") / "tree"
    unpack = ["dpkg-source", "--skip-patches", "-x", packages[-1], tree]
    subprocess.run(unpack, check=True, capture_output=True)
    return tree


def test_without_debian_and_pypi_the_remedies_are_named(tmp_path, without_pypi):
    apt = write_apt(tmp_path / "apt", "ubuntu.list", UBUNTU)
    with pytest.raises(ToolError, match="no Debian archive") as error:
        source.fetch(tmp_path / "cache", apt, without_pypi)
    said = str(error.value)
    assert "cannot fetch brocolli-caffe 3.0.0 from PyPI" in said
    assert "git clone https://github.com/BVLC/caffe DIR" in said
    assert "--caffe-root DIR" in said
    assert "--source-package FILE.dsc" in said
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_python_without_pip_is_named(tmp_path):
    apt = write_apt(tmp_path / "apt", "ubuntu.list", UBUNTU)
    with pytest.raises(ToolError, match=r"/bin/true has no pip: install .*python3-pip"):
        source.fetch(tmp_path / "cache", apt, "/bin/true")


def test_without_a_debian_archive_caffe_comes_from_pypi(tmp_path, from_pypi):
    """And it says so; afterwards the network is not needed."""
    apt = write_apt(tmp_path / "apt", "ubuntu.list", UBUNTU)
    said, cache = [], tmp_path / "cache"
    assert "brocolli-caffe 3.0.0 of PyPI" in source.first_source(cache, apt)
    tree = source.fetch(cache, apt, sys.executable, said.append)
    assert "no Debian archive" in said[0]
    assert "BVLC's own tree from PyPI" in said[0]
    assert (tree / "src/caffe/proto/caffe.proto").exists()
    assert str(cache) in source.first_source(cache, apt)
    shutil.rmtree(tree)
    assert source.fetch(cache, apt, "/bin/false") == tree


def test_the_tree_from_pypi_is_bvlcs(tmp_path, from_pypi, bvlc):
    """Every file that a build reads is the one of Debian's signed archive."""
    tree = tmp_path / "tree"
    pypi_source.unpack(from_pypi / pypi_source.ARCHIVE, tree)
    alike = ["CMakeLists.txt", "LICENSE", "Makefile.config.example"]
    for folder in ("cmake", "include", "python", "src", "tools"):
        ours = {p.relative_to(tree) for p in (tree / folder).rglob("*") if p.is_file()}
        theirs = (p for p in (bvlc / folder).rglob("*") if p.is_file())
        assert ours == {p.relative_to(bvlc) for p in theirs}
        alike += map(str, ours)
    assert len(alike) > 400
    assert filecmp.cmpfiles(tree, bvlc, alike, shallow=False)[1:] == ([], [])


def test_a_damaged_archive_from_pypi_is_refused(tmp_path, from_pypi):
    archive = tmp_path / pypi_source.ARCHIVE
    content = bytearray((from_pypi / archive.name).read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ToolError, match=r"is damaged .*delete it"):
        source.fetch(tmp_path, tmp_path / "no apt")
    assert list(tmp_path.iterdir()) == [archive]
    archive.unlink()
    assert source.fetch(tmp_path, tmp_path / "no apt") == tmp_path / "tree"


def test_a_package_of_debian_replaces_the_tree_from_pypi(package, from_pypi, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(from_pypi, cache)
    tree = source.fetch(cache, tmp_path / "no apt")
    assert not (tree / "debian").exists()
    source.take_package(package, cache)
    assert (tree / "debian").exists()
    assert not (cache / pypi_source.ARCHIVE).exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")
def test_a_clone_of_bvlc_is_copied_patched_and_left_alone(bvlc, tmp_path):
    """What the documentation says in three lines, with a repository made here."""
    there = tmp_path / "BVLC"
    shutil.copytree(bvlc, there)
    me = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init"], ["add", "-Af"], [*me, "commit", "-m", "1"]):
        git = ["git", "-C", there, *words]
        subprocess.run(git, check=True, capture_output=True, env=os.environ)
    clone, copy = tmp_path / "caffe", tmp_path / "build" / "caffe"
    git = ["git", "clone", "-q", there, clone]
    subprocess.run(git, check=True, capture_output=True)
    origin.place_tree(clone, copy, print)
    assert not (copy / ".git").exists()
    patching.apply(copy)
    assert patching.check(copy) is patching.State.PATCHED
    status = ["git", "-C", clone, "status", "--porcelain", "--ignored"]
    assert subprocess.run(status, check=True, capture_output=True).stdout == b""


@needs_apt
def test_a_suite_that_is_gone_is_named(tmp_path, without_pypi):
    archive = tmp_path / "debian"
    (archive / "dists" / "bookworm").mkdir(parents=True)
    text = f"deb file:{archive} bookworm main\n"
    apt = write_apt(tmp_path / "apt", "debian.list", text)
    with pytest.raises(ToolError, match="no longer has the suite bullseye") as error:
        source.fetch(tmp_path / "cache", apt, without_pypi)
    assert f"file:{archive}" in str(error.value)
    assert "--caffe-root DIR" in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


@needs_apt
def test_an_archive_that_nobody_signed_is_refused(tmp_path, without_pypi):
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
        source.fetch(tmp_path / "cache", apt, without_pypi)


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


def test_the_source_is_told_before_anything_is_installed(monkeypatch, capsys, tmp_path):
    import build_caffe

    def install(*arguments):
        raise ToolError("enough")

    monkeypatch.setattr(build_caffe.toolchain, "install_packages", install)
    monkeypatch.setattr("sys.argv", ["build_caffe.py"])
    options = build_caffe.arguments()
    with pytest.raises(ToolError, match="enough"):
        build_caffe._build(options, tmp_path, 0.0)
    told = source.first_source(tmp_path / "cache" / "caffe")
    assert f"Caffe's source: {told}\n" in capsys.readouterr().out

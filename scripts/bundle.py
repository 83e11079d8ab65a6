"""Pack a built Caffe with Python and all libraries into one archive."""

WANTED: str = "Python 3.10 or newer"

import argparse
import logging
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

import _start  # noqa: F401

from bundling import archive, contents, launchers, libraries, packages, workplace
from bundling.contents import Owners
from randrop import __version__, cli
from randrop.errors import UserError
from randrop.files import ownership, write_json
from randrop.pycaffe.build import build_dir, import_caffe

log = logging.getLogger("randrop")

DESCRIPTION = """\
Pack the built Caffe into one archive that trains on machines where nothing can be
installed: with pycaffe, the layers of randrop, Python, every shared library, the
scripts, prototxt/ and the trained model. It unpacks in any folder of any user, needs
neither root nor network, and may be moved or read-only. Its path must have no colon.

The other machine needs the same kind of processor and a GNU C library that is at least
as new as the one that the libraries of this machine ask for: pack on the oldest system
that you want to support. MANIFEST.json in the archive lists each file with its SHA-256,
package and licence; licences/ has the texts. The same build gives the same archive,
byte for byte.
"""

EXAMPLES = """\
  bundle.py                              build/randrop-VERSION-MACHINE.tar.xz
  bundle.py --out /tmp/randrop.tar.gz    larger, made faster, and unpacked by any system
then, on the other machine:
  tar -xf randrop.tar.gz
  randrop-*/bin/train --help
"""

# What NumPy's wheels are compiled for, and what /proc/cpuinfo calls the last of it.
_FLAGS = {"X86_V2": "sse4_2", "SSE42": "sse4_2", "X86_V3": "avx2", "AVX2": "avx2"}


def main(arguments: list[str] | None = None) -> int:
    """Pack; return 0."""
    options = _parse(arguments)
    machine = f"{platform.system()}-{platform.machine()}"
    name = f"randrop-{__version__}-{machine.lower()}"
    out = options.out or build_dir() / f"{name}.tar.xz"
    compress = archive.COMPRESSIONS.get(out.suffix)
    if compress is None or not out.stem.endswith(".tar"):
        raise UserError(
            f"--out {out}: give a name that ends in .tar.xz (smaller) or .tar.gz "
            "(any system unpacks it)"
        )
    ownership.check(out)
    start = time.monotonic()
    _check_caffe()
    with workplace.beside(out) as work:
        top = work / "bundle"
        top.mkdir()
        owners = contents.collect(top, log.info)
        found = _finish(top, machine, owners)
        size = sum(p.stat().st_size for p in archive.entries(top) if _is_plain(p))
        log.info("Packing %.0f MB (1 to 5 minutes)", size / 1e6)
        archive.write(top, work / out.name, compress, name)
        ownership.check(out)
        workplace.publish(work / out.name, out)
    log.info(
        "Done in %.0f s: %s, %.0f MB; unpacked %.0f MB. It needs %s with glibc %s",
        time.monotonic() - start,
        out,
        out.stat().st_size / 1e6,
        size / 1e6,
        machine,
        found["glibc"],
    )
    missing = found["without_licence_text"]
    if missing:
        log.info("No licence text was found for: %s", ", ".join(missing))
    return 0


def _check_caffe() -> None:
    """Refuse a Caffe that lacks our layers, or that this Python cannot load."""
    caffe = import_caffe()
    if "SigmoidRandomDropCELoss" not in caffe.layer_type_list():
        raise UserError(
            f"{caffe.__file__} does not know randrop's layers: build Caffe with "
            "'python3 scripts/build_caffe.py'"
        )


def _finish(top: Path, machine: str, owners: Owners) -> dict:
    """Write launchers, licences and the manifest; return the manifest."""
    elves = [path for path in archive.entries(top) if libraries.is_elf(path)]
    glibc = libraries.newest_glibc(elves)
    flags = _processor()
    launchers.write(
        top,
        version=__version__,
        machine=machine,
        glibc=glibc,
        flags=flags,
        python=f"python{'.'.join(platform.python_version_tuple()[:2])}",
    )
    contents.compile_python(top)
    _check(top, elves)
    texts, missing = _copy_licences(top / "licences", owners)
    manifest = {
        "what": "randrop-bundle",
        "version": __version__,
        "machine": machine,
        "glibc": glibc,
        "processor": flags,
        "packages": {
            key: {
                "name": package.name,
                "version": package.version,
                "origin": package.origin,
                "source": package.source,
                "licence": package.licence,
                "texts": texts[key],
            }
            for key, package in sorted(owners.packages.items())
        },
        "without_licence_text": missing,
        "files": _files(top, owners),
    }
    write_json(top / "MANIFEST.json", manifest)
    (top / ownership.LIST).unlink(missing_ok=True)
    return manifest


def _check(top: Path, elves: list[Path]) -> None:
    """Refuse what would not run elsewhere: try it here, where it lies now."""
    outside = [
        f"{name} from {path}"
        for name, path in libraries.closure(elves).items()
        if top.resolve() not in path.resolve().parents
    ]
    # Packages from PyPI ask for what Python has loaded before, by name.
    carried = {path.name for path in (top / "lib").iterdir()}
    outside = [text for text in outside if text.partition(" ")[0] not in carried]
    if outside:
        raise UserError(f"the bundle would load {', '.join(outside)}")
    result = subprocess.run(
        [str(top / "bin/python"), "-c", "import caffe, randrop.layers, cv2, skimage"],
        env={"PATH": os.environ.get("PATH", os.defpath), "GLOG_minloglevel": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise UserError(f"the bundle does not run: {result.stderr.strip()[-500:]}")


def _processor() -> list[str]:
    """Return what /proc/cpuinfo must list for the Python packages to run."""
    if platform.machine() != "x86_64":
        return []
    from numpy._core._multiarray_umath import __cpu_baseline__

    return sorted({_FLAGS[name] for name in __cpu_baseline__ if name in _FLAGS})


def _copy_licences(
    folder: Path, owners: Owners
) -> tuple[dict[str, list[str]], list[str]]:
    """Copy the licence texts; return those of each package, and who has none."""
    texts: dict[str, list[str]] = {}
    missing = []
    for key, package in sorted(owners.packages.items()):
        texts[key] = []
        place = folder / package.origin / package.name
        for text in package.texts:
            name = "-".join(_below(text))
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(text, place / name)
            texts[key].append((place / name).relative_to(folder.parent).as_posix())
        if not package.texts:
            missing.append(key)
    for text in packages.common_texts(owners.packages.values()):
        (folder / "common").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(text, folder / "common" / text.name)
    return texts, missing


def _below(text: Path) -> tuple[str, ...]:
    """Return the parts of a path below the folder of a package's licences."""
    parts = text.parts
    for number, part in enumerate(parts):
        if part.endswith(".dist-info"):
            return parts[number + 1 :]
    return parts[-1:]


def _files(top: Path, owners: Owners) -> list[dict]:
    """Return every file but the manifest, with its size, digest and package."""
    listed = []
    for path in archive.entries(top):
        inside = path.relative_to(top).as_posix()
        if path.is_symlink():
            listed.append({"path": inside, "link": os.readlink(path)})  # noqa: PTH115
        elif path.is_file():
            source = re.sub(r"__pycache__/(\w+)\.[\w.-]+\.pyc$", r"\1.py", inside)
            owner = owners.files.get(inside) or owners.files.get(
                source, "randrop:randrop"
            )
            size = path.stat().st_size
            digest = ownership.sha256(path)
            listed.append(
                {"path": inside, "size": size, "sha256": digest, "package": owner}
            )
    return listed


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the archive; its name ends in .tar.xz or .tar.gz",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)

"""A bundle trains on a clean Debian as it does here, to the bit, without root.

    python tests/bundle_elsewhere.py --out results/bundle.json

Packs the built Caffe, and makes a Debian system that has none of Caffe's packages
(tests/debian_root.py; takes root). There an unprivileged user without a network unpacks
the bundle, moves it to a path with a space, makes it read-only, trains, predicts, and
trains on by `caffe train` alone. The results must equal those of the build here. It
packs a second time: the archives must be equal, too. With --pack, it only packs, twice
and as .tar.xz, and adds what it found to the file of --out.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import debian_root
from conftest import REPOSITORY

from randrop.files import ownership, write_json
from randrop.pycaffe.build import caffe_root, import_caffe

SETTINGS = (
    *("--patch", "64", "--batch", "2", "--base-channels", "4", "--depth", "3"),
    *("--iterations", "40", "--test-interval", "20", "--test-iterations", "2"),
    *("--snapshot", "20", "--threads", "1", "--loss", "random-drop"),
)
PHANTOM = ("--images", "4", "--size", "192", "--seed", "3", "--workers", "1")

# Run in the root: "$1" is the archive. Paths are relative, as here.
UNPACK = """
set -e
cd ~
tar -xf "$1"
mkdir 'another place'
mv randrop-* 'another place/my bundle'
chmod -R a-w 'another place/my bundle'
"""


def timed(words: list[str], **options: object) -> float:
    """Run a command; return its seconds. A failure ends the program."""
    start = time.monotonic()
    result = subprocess.run(
        words, capture_output=True, text=True, check=False, **options
    )
    if result.returncode:
        sys.exit(f"{' '.join(words)}:\n{result.stdout[-2000:]}{result.stderr[-4000:]}")
    return time.monotonic() - start


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def steps(program: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Return what is run in both places, by the name of the step."""
    return [
        ("phantom", [*program["make-phantom"], "phantom", *PHANTOM]),
        ("train", [*program["train"], "--data", "phantom", "--out", "run", *SETTINGS]),
        (
            "predict",
            [*program["predict"], "--run", "run", "--data", "phantom", "--out", "maps"],
        ),
    ]


def outcome(folder: Path) -> dict[str, object]:
    """Return everything that must be equal."""
    curves = json.loads((folder / "run/curves.json").read_text())
    kept = {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(
            [*folder.glob("phantom/*/*.png"), *folder.glob("maps/*.png")]
        )
    }
    return {
        "training_loss": curves["training_loss"],
        "weights": weights(folder / "run/final.caffemodel"),
        **kept,
    }


def weights(path: Path) -> str:
    """Return a digest of a network's numbers, without the paths in its file."""
    message = import_caffe().proto.caffe_pb2.NetParameter()
    message.ParseFromString(path.read_bytes())
    found = hashlib.sha256()
    for layer in message.layer:
        for blob in layer.blobs:
            found.update(repr(list(blob.data)).encode())
    return found.hexdigest()


def here(work: Path) -> dict[str, object]:
    """Run the steps with the build of this machine."""
    folder = work / "here"
    folder.mkdir()
    scripts = REPOSITORY / "scripts"
    program = {
        name: [sys.executable, str(scripts / f"{name.replace('-', '_')}.py")]
        for name in ("make-phantom", "train", "predict")
    }
    for _, words in steps(program):
        timed(words, cwd=folder)
    return outcome(folder)


def elsewhere(root: Path, archive: Path) -> tuple[dict[str, object], dict[str, float]]:
    """Run the steps with the bundle in a Debian root; return outcome and seconds."""
    options = {"user": True, "binds": {archive.parent: "/given"}}
    seconds = {}

    def enter(name: str, command: list[str]) -> None:
        begin = time.monotonic()
        debian_root.check(root, command, **options)
        seconds[name] = round(time.monotonic() - begin, 1)

    enter("unpack", ["sh", "-c", UNPACK, "sh", f"/given/{archive.name}"])
    top = f"/home/{debian_root.USER}/another place/my bundle/bin"
    names = ("make-phantom", "train", "predict")
    for name, words in steps({name: [f"{top}/{name}"] for name in names}):
        script = 'cd ~; exec "$@"'
        enter(name, ["sh", "-c", script, "sh", *words])
    # The files of the training, without our script: Caffe alone trains on.
    plain = f'cd ~; exec "{top}/caffe" train --solver run/solver.prototxt'
    enter(
        "caffe train", ["sh", "-c", plain + " --snapshot run/snapshots/*20.solverstate"]
    )
    return outcome(root / "home" / debian_root.USER), seconds


def pack(path: Path) -> float:
    """Pack the build; return the seconds."""
    script = REPOSITORY / "scripts" / "bundle.py"
    return timed([sys.executable, str(script), "--out", str(path)])


def paths_of_this_machine(top: Path) -> list[str]:
    """Return the files of a bundle that name a folder of this machine's build."""
    names = {
        str(REPOSITORY),
        str(caffe_root()),
        str(Path(sys.prefix)),
        str(Path.home()),
    }
    # One name, such as /root, tells nothing of anybody.
    names = {name.encode() for name in names if len(Path(name).parts) > 2}
    found = []
    for path in sorted(top.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if any(name in content for name in names):
                found.append(path.relative_to(top).as_posix())
    return found


def main() -> int:
    """Pack, go elsewhere, compare, and write what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--suite", nargs="+", default=["bookworm"], help="Debian suites"
    )
    parser.add_argument("--archive", type=Path, help="a .tar.gz that was packed before")
    parser.add_argument("--cache", type=Path, help="folder that keeps Debian packages")
    parser.add_argument("--once", action="store_true", help="do not pack a second time")
    parser.add_argument("--pack", action="store_true", help="only pack")
    parser.add_argument("--out", type=Path, help="JSON with what was measured")
    options = parser.parse_args()
    if options.out:
        ownership.check(options.out)
    reason = None if options.pack else debian_root.why_not()
    if reason:
        print(f"skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory(prefix="randrop-elsewhere-") as name:
        work = Path(name)
        work.chmod(0o755)
        return (_only_pack if options.pack else _run)(options, work)


def _write(out: Path | None, measured: dict[str, object]) -> None:
    if out:
        write_json(out, measured)


def _again(archive: Path, work: Path) -> Iterator[dict[str, object]]:
    """Pack a second time, then a third time smaller; return what was found."""
    print("Packing again (1 to 5 minutes)", flush=True)
    again = work / "again" / "randrop.tar.gz"
    pack(again)
    if digest(again) != digest(archive):
        sys.exit(f"{again} differs from {archive}")
    yield {"same_bytes": True}
    print("Packing as .tar.xz (3 to 10 minutes)", flush=True)
    smaller = work / "smaller" / "randrop.tar.xz"
    pack(smaller)
    if content(smaller) != content(archive):
        sys.exit(f"{smaller} has not what {archive} has")
    yield {"xz_bytes": smaller.stat().st_size}


def content(archive: Path) -> str:
    """Return a digest of an archive that was unpacked, but not written to files."""
    found = hashlib.sha256()
    program = "xz" if archive.suffix == ".xz" else "gzip"
    with subprocess.Popen([program, "-dc", archive], stdout=subprocess.PIPE) as stream:
        while block := stream.stdout.read(2**20):
            found.update(block)
    if stream.returncode:
        sys.exit(f"{program} cannot read {archive}")
    return found.hexdigest()


def _only_pack(options: argparse.Namespace, work: Path) -> int:
    """Pack again; add what was found to an earlier result of the same packages."""
    known = options.out and options.out.exists()
    measured = json.loads(options.out.read_text()) if known else {}
    archive = options.archive
    if archive is None:
        archive = work / "given" / "randrop.tar.gz"
        print("Packing (1 to 3 minutes)", flush=True)
        pack(archive)
    measured |= {"gz_bytes": archive.stat().st_size, **manifest_of(archive)}
    for found in _again(archive, work):
        measured |= found
        _write(options.out, measured)
    print(json.dumps(measured, indent=1))
    return 0


def manifest_of(archive: Path) -> dict[str, object]:
    """Return what the manifest of an archive says of it."""
    with tarfile.open(archive) as tar:
        name = next(n for n in tar.getnames() if n.endswith("/MANIFEST.json"))
        return summary(json.loads(tar.extractfile(name).read()))


def summary(manifest: dict) -> dict[str, object]:
    """Return what of a manifest is told of a bundle."""
    return {
        "unpacked_bytes": sum(file.get("size", 0) for file in manifest["files"]),
        "files": len(manifest["files"]),
        "packages": len(manifest["packages"]),
        "without_licence_text": manifest["without_licence_text"],
        "glibc": manifest["glibc"],
        "processor": manifest["processor"],
        "version": manifest["version"],
    }


def _run(options: argparse.Namespace, work: Path) -> int:
    measured: dict[str, object] = {}
    archive = options.archive
    if archive is None:
        archive = work / "given" / "randrop.tar.gz"
        print("Packing (1 to 3 minutes)", flush=True)
        measured["pack_gz_seconds"] = round(pack(archive))
    measured["gz_bytes"] = archive.stat().st_size
    expected = here(work)
    measured["systems"] = {}
    for suite in options.suite:
        print(f"Making Debian {suite} (a minute), and training in it", flush=True)
        root = debian_root.make(work / suite, suite, cache=options.cache)
        try:
            found, seconds = elsewhere(root, archive)
            top = root / "home" / debian_root.USER / "another place" / "my bundle"
            manifest = json.loads((top / "MANIFEST.json").read_text())
            named = paths_of_this_machine(top)
        finally:
            subprocess.run(["chmod", "-R", "u+w", str(root / "home")], check=False)
            debian_root.remove(root)
        if found != expected:
            differing = [key for key in expected if found.get(key) != expected[key]]
            sys.exit(f"{suite}: differs from here: {', '.join(differing)}")
        if named:
            sys.exit(f"paths of this machine in {', '.join(named)}")
        measured["systems"][suite] = seconds
        print(f"{suite}: equal to the bit; seconds: {seconds}", flush=True)
    measured |= summary(manifest)
    _write(options.out, measured)
    if not options.once:
        for found in _again(archive, work):
            measured |= found
            _write(options.out, measured)
    print(json.dumps(measured, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

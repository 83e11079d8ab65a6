"""The programs of a bundle: small shell scripts that start what is packed."""

from pathlib import Path

# Commands of the bundle that are scripts of the repository, as `randrop NAME` has them.
COMMANDS = (
    "prepare", "train", "predict", "evaluate", "calibrate", "evaluate-labels",
    "compare", "show-kept", "surface", "export-model", "export-onnx", "export-lmdb",
    "make-phantom", "make-organs", "make-prototxt", "patch-caffe",
)  # fmt: skip

START = """\
# Read by the programs in bin/: looks whether this machine can run them, and sets what
# they need. $top is the folder of the bundle, wherever it is now.
top=$(dirname "$(dirname "$(readlink -f "$0")")")

fail() {{
  echo "error: $1" >&2
  exit 2
}}

{place}
machine=$(uname -s)-$(uname -m)
[ "$machine" = {machine} ] ||
  fail "this bundle is for {machine}, but this machine is $machine: make one there"
glibc=$(getconf GNU_LIBC_VERSION 2> /dev/null) ||
  fail "this bundle needs the GNU C library {glibc} or newer, but this system has\
 another C library: use Debian, Ubuntu, Fedora or the like"
glibc=${{glibc#glibc }}
oldest=$(printf '%s\\n' {glibc} "$glibc" | sort -V | head -n 1)
[ "$oldest" = {glibc} ] ||
  fail "this bundle needs the GNU C library {glibc} or newer, but this system has\
 $glibc: use a newer system, or make the bundle on one as old as this"
for flag in {flags}; do
  grep -q -w "$flag" /proc/cpuinfo ||
    fail "this bundle needs a processor with $flag, but /proc/cpuinfo does not list it"
done

export CAFFE_ROOT="$top/caffe" RANDROP_BUILD="${{RANDROP_BUILD:-build}}"
# Packages in the user's home folder, or of a cluster's modules, may be of other
# versions. So the folders of PYTHONPATH come after the bundle's own, not before them.
{environment}
python="$top/python/bin/{python}"
"""

# Read by the Python of the bundle at each start.
PATHS = """\
../../../../randrop/python_layers
../../../../caffe/python
import os, sys; sys.path += filter(None, os.environ.get("RANDROP_PATH", "").split(":"))
"""

SITE = "# Python runs this instead of a file of this name that PYTHONPATH names.\n"
"""Of sitecustomize.py."""

# Of $top. PYTHONHOME and PYTHONPATH are lists with colons between.
_PLACE = """\
case $top in
  *:*)
    echo "error: $top: Python takes the colon in this path for the end of a name: move\
 the bundle to a path without colons" >&2
    exit 2 ;;
esac"""

# Here PYTHONPATH, if set, is from the user or from randrop.pycaffe.build.environment.
_ENVIRONMENT = """\
export RANDROP_PATH="${PYTHONPATH:+$PYTHONPATH:}${RANDROP_PATH:-}"
export PYTHONNOUSERSITE=1
unset PYTHONPATH PYTHONHOME PYTHONPLATLIBDIR PYTHONEXECUTABLE PYTHONSAFEPATH \\
  PYTHONOPTIMIZE"""

_HEAD = """\
#!/bin/sh
# Part of a bundle of randrop (README.txt). {what}
. "$(dirname "$(dirname "$(readlink -f "$0")")")/start.sh"
"""

# Caffe is started by scripts, too, and its Python must find its library in the bundle.
CAFFE = f"""\
#!/bin/sh
# Part of a bundle of randrop (README.txt). Runs caffe.bin with the bundle's Python.
tools=$(dirname "$(readlink -f "$0")")
top=${{tools%/caffe/build/tools}}
{_PLACE}
{_ENVIRONMENT}
export PYTHONHOME="$top/python"
exec "$tools/caffe.bin" "$@"
"""

README = """\
randrop {version}: Caffe with loss layers for small lesions, and all that it needs

bin/caffe           Caffe, with randrop's layers
bin/python          Python with pycaffe, randrop and their packages
bin/train ...       the scripts of randrop: prepare, train, predict, evaluate, ...
                    --help explains each
randrop/prototxt    networks to start from
randrop/models      a trained network: bin/predict PHOTOGRAPH uses it
MANIFEST.json       every file with its SHA-256, the package it is from, its licence
licences/           the licence texts of these packages

Nothing is installed, and root is not needed. The folder may be moved to any path
without a colon, and may be read-only. What the scripts make goes to the folder `build`
where they are started, or to $RANDROP_BUILD. The programs in bin/ run the Caffe of this
bundle, whatever $CAFFE_ROOT says, and its packages, whatever is in $PYTHONPATH: your
own modules there are found, too, but after them.

It runs on {machine} with the GNU C library {glibc} or newer{processor}. Faster
instructions (AVX2, AVX-512) are used where the processor has them.

Each package has its own licence. If you give this archive to others, keep licences/
with it, and look into MANIFEST.json for what those of the GPL ask of you.
"""


def write(
    top: Path, *, version: str, machine: str, glibc: str, flags: list[str], python: str
) -> None:
    """Write the programs of a bundle, and its README.

    Parameters
    ----------
    top : Path
        Folder of the bundle.
    version : str
        Of randrop.
    machine : str
        As `uname -s` and `uname -m` say, joined by a hyphen.
    glibc : str
        The oldest C library that it runs on.
    flags : list of str
        What /proc/cpuinfo must list.
    python : str
        Name of the interpreter in python/bin.
    """
    start = START.format(
        machine=machine,
        glibc=glibc,
        flags=" ".join(flags),
        python=python,
        environment=_ENVIRONMENT,
        place=_PLACE,
    )
    if not flags:
        begin, end = start.index("for flag in"), start.index("done\n") + len("done\n")
        start = start[:begin] + start[end:]
    _write(top / "start.sh", start, 0o644)
    _write(
        top / "bin" / "python",
        _HEAD.format(what="Its Python.") + 'exec "$python" "$@"\n',
    )
    _write(
        top / "bin" / "caffe",
        _HEAD.format(what="Its Caffe.") + 'exec "$CAFFE_ROOT/build/tools/caffe" "$@"\n',
    )
    for name in COMMANDS:
        script = f"{name.replace('-', '_')}.py"
        _write(
            top / "bin" / name,
            _HEAD.format(what=f"The script {script}.")
            + f'exec "$python" "$top/randrop/scripts/{script}" "$@"\n',
        )
    _write(top / "caffe/build/tools/caffe", CAFFE)
    processor = f", and a processor with {', '.join(flags)}" if flags else ""
    _write(
        top / "README.txt",
        README.format(
            version=version, machine=machine, glibc=glibc, processor=processor
        ),
        0o644,
    )


def _write(path: Path, text: str, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)

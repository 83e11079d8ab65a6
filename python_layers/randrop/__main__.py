"""The command `randrop`: the scripts of the repository, for an installed package."""

import ast
import sys
from pathlib import Path
from types import ModuleType

from randrop import __version__
from randrop.pycaffe.build import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"

NAMES = (
    "prepare", "train", "predict", "evaluate", "calibrate", "evaluate-labels",
    "compare", "run-protocol", "cross-validate", "average-snapshots",
    "find-false-alarms", "show-kept", "show-patches", "surface", "export-model",
    "export-onnx", "import-weights", "export-lmdb", "make-phantom", "make-organs",
    "patch-caffe",
)  # fmt: skip
"""Those that need nothing of the repository beside the package."""

USAGE = """\
usage: randrop COMMAND [ARGUMENTS]
       randrop --version

Loss layers for Caffe, with tools for data, training and evaluation.
'randrop COMMAND --help' explains a command; 'randrop train' is the same as
'python3 scripts/train.py' in the repository.

commands:
"""

END = """
scripts/build_caffe.py in the repository builds Caffe. Set RANDROP_BUILD to its build
folder, or CAFFE_ROOT to your own built tree.
"""


def main() -> None:
    """Run the script that the first argument names; exit with 2 if there is none."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        lines = (f"  {n:18} {_about(n)}\n" for n in NAMES)
        sys.stdout.write(USAGE + "".join(lines) + END)
        return
    if name == "--version":
        print(f"randrop {__version__}")
        return
    if name not in NAMES:
        print(
            f"error: unknown command {name!r}: choose from {', '.join(NAMES)}",
            file=sys.stderr,
        )
        sys.exit(2)
    # As when Python runs a script: its folder comes first, so it finds its neighbours.
    sys.path.insert(0, str(SCRIPTS))
    sys.argv = [f"randrop {name}", *sys.argv[2:]]
    # `runpy` would put its own name into sys.argv, and thus into the usage.
    script = ModuleType("__main__")
    script.__file__ = str(_file(name))
    sys.modules["__main__"] = script
    text = _file(name).read_text(encoding="utf-8")
    exec(compile(text, script.__file__, "exec"), vars(script))


def _file(name: str) -> Path:
    return SCRIPTS / f"{name.replace('-', '_')}.py"


def _about(name: str) -> str:
    text = ast.get_docstring(ast.parse(_file(name).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


if __name__ == "__main__":
    main()

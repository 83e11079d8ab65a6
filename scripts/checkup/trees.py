"""What the build folder and a Caffe tree are, and what the tools would do with them."""

import contextlib
import hashlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from caffe_tools import building, patching, place, planning, toolchain
from caffe_tools.errors import ToolError
from caffe_tools.patching import State
from checkup.finding import NO, OK, UNKNOWN, Finding

_BUILD = "python3 scripts/build_caffe.py"
# Where CMake and the Makefile put the library.
_LIBRARIES = (
    *("build/lib/libcaffe.so", "build/lib/libcaffe.so.1.0.0", "build/lib/libcaffe.a"),
    *(".build_release/lib/libcaffe.so", ".build_debug/lib/libcaffe.so"),
    *("build/lib/libcaffe-d.so", "distribute/lib/libcaffe.so"),
)


def look_at_build(root: Path) -> Iterator[Finding]:
    """Look at the build folder."""

    def finding(name: str, state: str, words: str, remedy: str = "") -> Finding:
        return Finding("build", name, state, words, remedy)

    try:
        venv = root / "venv"
        stamp = venv / "requirements.sha256"
        taken = [name for name in place.NAMES if (root / name).exists()]
        if taken and not (root / place.MARK).exists() and not stamp.exists():
            words = f"{root} has {', '.join(taken)}, which build_caffe.py did not make"
            yield finding("folder", NO, words, "export RANDROP_BUILD=/another/folder")
            return
        python = venv / "bin" / "python"
        if not stamp.exists() or not python.exists():
            words = (
                f"{venv} does not exist"
                if not venv.exists()
                else f"{venv} is unfinished"
            )
            yield finding("Python packages", NO, words, f"{_BUILD} --venv-only")
        elif not _is_current(stamp):
            words = f"{venv} has those of another version"
            yield finding("Python packages", NO, words, f"{_BUILD} --venv-only")
        else:
            yield finding("Python packages", OK, f"{venv}")
        yield _built(root / "caffe", python)
    except OSError as error:
        words = f"{error.filename}: {error.strerror}"
        yield finding("folder", NO, words, "export RANDROP_BUILD=/another/folder")


def _is_current(stamp: Path) -> bool:
    """Return whether the stamp of toolchain.make_venv is that of today's packages."""
    wanted = "\n".join(toolchain.requirements())
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    return stamp.read_text(errors="replace") == digest


def _built(tree: Path, python: Path) -> Finding:
    """Tell whether Caffe in the build folder is finished, ours and of this version."""

    def finding(state: str, words: str, remedy: str = "") -> Finding:
        return Finding("build", "Caffe", state, words, remedy)

    program = tree / "build" / "tools" / "caffe"
    if not tree.exists():
        return finding(NO, "Caffe is not built yet", _BUILD)
    if not (tree / "build" / "randrop-built").exists() or not program.exists():
        return finding(NO, f"the build in {tree} did not finish", _BUILD)
    try:
        state = patching.check(tree)
    except ToolError as error:
        return finding(NO, str(error), f"{_BUILD} --clean")
    if state is not State.PATCHED:
        words = "was patched by another version of randrop"
        if state is not State.OTHER_VERSION:
            words = "is not patched as a whole"
        return finding(NO, f"{tree} {words}", _BUILD)
    cache = tree / "build" / "CMakeCache.txt"
    text = cache.read_text(errors="replace")
    where = re.search(r"^CMAKE_CACHEFILE_DIR:INTERNAL=(.*)$", text, re.M)
    moved = where and Path(where[1]).resolve() != cache.parent.resolve()
    try:
        # It says what it found, for people; our line has that, too.
        with contextlib.redirect_stdout(io.StringIO()):
            building.check_registered(tree, python)
    except (ToolError, OSError) as error:
        return finding(NO, str(error), f"{_BUILD} --clean")
    if moved:
        words = f"runs, but was built in {where[1]}: CMake cannot update it here"
        return finding(NO, words, f"{_BUILD} --clean")
    return finding(OK, f"{program}, with randrop's layers")


def look_at(root: Path) -> Iterator[Finding]:
    """Look at a Caffe tree.

    Raises
    ------
    ToolError
        If it is none.
    """

    def finding(
        name: str, state: str, words: str, remedy: str = "", needed: bool = True
    ) -> Finding:
        return Finding("tree", name, state, words, remedy, needed)

    planning.check_tree(root)
    given = shlex.quote(str(root))
    patch = f"python3 scripts/patch_caffe.py {given}"
    yield finding("Caffe", OK, f"{root} is a Caffe tree")
    state = patching.check(root)
    try:
        changes = patching.planned(root, state)
    except ToolError as error:
        # Where numbers are taken, the message offers free ones.
        numbers = re.findall(r"--number \w+=\d+", str(error))
        remedy = " ".join([patch, *numbers]) if numbers else ""
        yield finding("fits", NO, str(error), remedy)
        return
    yield finding("fits", OK, f"the patch changes or adds {len(changes)} files")
    words = {
        State.PATCHED: (OK, "with this version", ""),
        State.NOT_PATCHED: (NO, "not yet", patch),
        State.PARTLY: (
            NO,
            "partly: a run was interrupted, or files were edited",
            patch,
        ),
        State.OTHER_VERSION: (NO, "by another version of randrop", patch),
        State.EDITED: (NO, "and edited since: patching again keeps the edits", patch),
        State.RECORD_LOST: (
            NO,
            "by hand, or the record, .randrop, is gone: patching makes a record",
            patch,
        ),
    }[state]
    yield finding("patched", *words)
    yield from _mends(root, changes, finding)
    yield _engine(root, finding)
    yield _python_layers(root, finding)
    yield _knows_our_layers(root, finding)


def _mends(root, changes, finding) -> Iterator[Finding]:  # noqa: ANN001
    """Tell which mends the tree needs, and which have no place in it."""
    whys = [c.why for c in changes if c.before is not None]
    names = {name for why in whys for name in re.findall(r"(?:^|; )([a-z\d-]+): ", why)}
    # The engine has a line of its own.
    names = sorted(name for name in names if not name.startswith("cpu-engine"))
    yield finding("mends", OK, f"{len(names)} apply: {', '.join(names) or 'none'}")
    for line in planning.unmended(root):
        yield finding("mends", NO, line, needed=False)


def _engine(root, finding) -> Finding:  # noqa: ANN001
    missing = planning.engine_left_out(root)
    if not missing:
        return finding("engine", OK, "its layers run through oneDNN", needed=False)
    files = [f"{path}: {what}" for path, what in missing.items()]
    words = f"Caffe's own layers stay, without oneDNN: {'; '.join(files)}"
    return finding("engine", NO, words, needed=False)


def _python_layers(root: Path, finding) -> Finding:  # noqa: ANN001
    """Tell whether the tree can have layers in Python, and whether they are on."""
    if (
        not (root / "include/caffe/layers/python_layer.hpp").exists()
        and not (root / "include/caffe/python_layer.hpp").exists()
    ):
        return finding(
            "Python layers", NO, "this Caffe is older than they are: train.py and the "
            "Python twins cannot run in it", needed=False,
        )  # fmt: skip
    cache = root / "build" / "CMakeCache.txt"
    config = root / "Makefile.config"
    if cache.is_file():
        text = cache.read_text(errors="replace")
        on = re.search(r"^BUILD_python_layer:BOOL=(\w+)", text, re.M)
        switched = bool(on) and on[1].upper() in ("ON", "TRUE", "1")
        where, remedy = cache, f"cmake -DBUILD_python_layer=ON {root / 'build'}"
    elif config.is_file():
        text = config.read_text(errors="replace")
        on = re.search(r"^\s*WITH_PYTHON_LAYER\s*:?=\s*1", text, re.M)
        switched, where = bool(on), config
        remedy = f"echo WITH_PYTHON_LAYER := 1 >> {shlex.quote(str(config))}"
    else:
        return finding("Python layers", UNKNOWN, "not configured yet", needed=False)
    if switched:
        return finding("Python layers", OK, f"on in {where}", needed=False)
    return finding("Python layers", NO, f"off in {where}: then rebuild", remedy, False)


def _knows_our_layers(root: Path, finding) -> Finding:  # noqa: ANN001
    """Tell whether a library of the tree was built with our layers."""
    for name in _LIBRARIES:
        library = root / name
        if library.is_file():
            content = library.read_bytes()
            missing = [
                layer
                for layer in planning.registered_types()
                if layer.encode() not in content
            ]
            if not missing:
                return finding("built", OK, f"{library} knows randrop's layers")
            words = f"{library} does not know {', '.join(missing)}: rebuild the tree"
            return finding("built", NO, words, _rebuild(root, name))
    return finding("built", UNKNOWN, "no library of this tree was found", needed=False)


def _rebuild(root: Path, library: str) -> str:
    folder = shlex.quote(str(root / "build" if library.startswith("build") else root))
    if (root / "build" / "CMakeCache.txt").is_file():
        return f"cmake {folder} && make -C {folder}"
    return f"make -C {shlex.quote(str(root))} all pycaffe"

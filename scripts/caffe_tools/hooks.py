"""Lines that we insert into Caffe's own files, at a line that every fork has.

The engine's larger changes are patches, in caffe_patches/. The hook in the layer
factory stays an expression because many forks add an include or a comment right next to
these lines, where a patch requires its context to match. The tool applies it together
with the patches, or not at all.

The hook for threads is applied wherever CMake has no option for OpenMP. Those of plain
make are applied wherever they fit: it uses OpenMP and oneDNN where it finds them, as
CMake does, because an option that is off would be found by nobody.
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Insertion:
    """Lines before or after the one line that an expression matches."""

    anchor: str
    lines: str
    before: bool = False

    def place(self, text: str) -> int | None:
        """Return where the lines belong, or None if there is not one such line."""
        found = list(re.finditer(self.anchor, text, re.MULTILINE))
        if len(found) != 1:
            return None
        return found[0].start() if self.before else found[0].end()


@dataclasses.dataclass(frozen=True)
class Hook:
    """Insertions into one file.

    Attributes
    ----------
    name, why : str
        Its name and its purpose.
    path : str
        The file, relative to the tree.
    insertions : tuple of Insertion
        What is inserted.
    unless : str
        An expression; where the file has it, nothing is needed.
    """

    name: str
    why: str
    path: str
    insertions: tuple[Insertion, ...]
    unless: str = r"(?!)"

    def misfits(self, text: str) -> list[str]:
        """Return what is wrong with each insertion that finds no place."""
        plain = text.replace("\r\n", "\n")
        return [
            f"{self.name} finds no line, or several, that match '{part.anchor}'"
            for part in self._missing(plain)
            if part.place(plain) is None
        ]

    def apply(self, text: str) -> str:
        """Return the text with the lines; the same text if it has or needs none."""
        newline = "\r\n" if "\r\n" in text else "\n"
        plain = text.replace("\r\n", "\n")
        missing = self._missing(plain)
        if not missing or self.misfits(text):
            return text
        for part in missing:
            at = part.place(plain)
            plain = plain[:at] + part.lines + plain[at:]
        return plain.replace("\n", newline)

    def _missing(self, plain: str) -> list[Insertion]:
        missing = [part for part in self.insertions if part.lines not in plain]
        return [] if missing and re.search(self.unless, plain) else missing

    def undo(self, text: str) -> str:
        """Return the text without the lines."""
        newline = "\r\n" if "\r\n" in text else "\n"
        plain = text.replace("\r\n", "\n")
        if not any(part.lines in plain for part in self.insertions):
            return text
        for part in self.insertions:
            plain = plain.replace(part.lines, "", 1)
        return plain.replace("\n", newline)


ENGINE = (
    Hook(
        "cpu-engine-factory",
        "the factory creates oneDNN's layers on the CPU",
        "include/caffe/layer_factory.hpp",
        (
            Insertion(
                r'^#include "caffe/(?:proto/caffe\.pb|messages)\.hp*"\n',
                '#include "caffe/randrop/engine/cpu_engine.hpp"\n',
            ),
            Insertion(
                r"^[ \t]+return registry\[type\]\(param\);\n",
                "    if (Layer<Dtype>* layer =\n"
                "        randrop::NewCpuEngineLayer<Dtype>(param)) {\n"
                "      return shared_ptr<Layer<Dtype> >(layer);\n"
                "    }\n",
                before=True,
            ),
        ),
    ),
)
"""The engine's hooks, all or none of them."""

THREADS = Hook(
    "threads",
    "our losses run on threads, in trees whose CMake has no option for OpenMP",
    "CMakeLists.txt",
    (
        Insertion(
            r"^[ \t]*include\(\s*cmake/Dependencies\.cmake\s*\)[^\n]*\n",
            "\n"
            "# ---[ OpenMP: threads for the losses of randrop\n"
            'option(USE_OPENMP "Threads, where the compiler has OpenMP" ON)\n'
            "if(USE_OPENMP)\n"
            "  find_package(OpenMP)\n"
            "  if(OPENMP_FOUND)\n"
            '    set(CMAKE_CXX_FLAGS "${CMAKE_CXX_FLAGS} ${OpenMP_CXX_FLAGS}")\n'
            "  endif()\n"
            "endif()\n",
        ),
    ),
    unless=r"(?i)openmp",
)

_FLAGS = "$(foreach includedir,$(INCLUDE_DIRS),-I$(includedir))"


def _found(name: str, options: str) -> str:
    """Return lines of a Makefile that set a variable if the compiler can do this."""
    return (
        f"ifndef {name}\n"
        f"{name} := $(shell $(CXX) {options} -x c++ -fsyntax-only /dev/null"
        " 2> /dev/null && echo 1)\n"
        "endif\n"
    )


_BEFORE_FLAGS = r"^# Complete build flags\.\n"
_BEFORE_CPU_ONLY = r"^# CPU-only switch[^\n]*\n"

MAKE_THREADS = (
    Hook(
        "make-threads",
        "plain make compiles our losses for threads, where the compiler has OpenMP",
        "Makefile",
        (
            Insertion(
                _BEFORE_FLAGS,
                "# OpenMP: threads for the losses of randrop\n"
                + _found("USE_OPENMP", "-fopenmp -include omp.h")
                + "ifeq ($(USE_OPENMP), 1)\n"
                "CXXFLAGS += -fopenmp\n"
                "LINKFLAGS += -fopenmp\n"
                "endif\n"
                "\n",
                before=True,
            ),
        ),
        unless=r"(?i)openmp",
    ),
    Hook(
        "make-threads-option",
        "an option that leaves it out",
        "Makefile.config.example",
        (
            Insertion(
                _BEFORE_CPU_ONLY,
                "# Threads for the losses of randrop: on, where there is OpenMP\n"
                "# (uncomment to build without).\n"
                "# USE_OPENMP := 0\n"
                "\n",
                before=True,
            ),
        ),
        unless=r"(?i)openmp",
    ),
)
"""OpenMP in plain make, each hook where it fits."""

MAKE_ENGINE = (
    Hook(
        "make-engine",
        "plain make looks for oneDNN and, where it is, defines USE_ONEDNN",
        "Makefile",
        (
            Insertion(
                _BEFORE_FLAGS,
                "# oneDNN: fast layers on the CPU\n"
                + _found("USE_ONEDNN", f"{_FLAGS} -include dnnl.hpp")
                + "ifeq ($(USE_ONEDNN), 1)\n"
                "COMMON_FLAGS += -DUSE_ONEDNN\n"
                "LIBRARIES += dnnl\n"
                "endif\n"
                "\n",
                before=True,
            ),
        ),
    ),
    Hook(
        "make-engine-option",
        "an option that leaves it out",
        "Makefile.config.example",
        (
            Insertion(
                _BEFORE_CPU_ONLY,
                "# Fast CPU layers through oneDNN: on, where dnnl.hpp is found\n"
                "# (uncomment to build without).\n"
                "# USE_ONEDNN := 0\n"
                "\n",
                before=True,
            ),
        ),
    ),
)
"""oneDNN in plain make, each hook where it fits, in trees that have the engine."""

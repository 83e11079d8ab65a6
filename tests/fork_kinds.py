"""What forks, ages and users have made of BVLC's tree, for tests/forks.py.

Each kind is a function that changes a tree; its description says what it is.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import old_layout

FILES = Path(__file__).with_name("fork_files")
PROTO = "src/caffe/proto/caffe.proto"
SOURCES = (".cpp", ".hpp", ".cu", ".cuh", ".h", ".proto", ".py", ".txt", ".cmake")
_LAST = "  optional SwishParameter swish_param = 147;\n"


def edit(tree: Path, path: str, old: str, new: str, count: int = 1) -> None:
    """Replace a text that the file must have."""
    text = (tree / path).read_text()
    assert old in text, f"{path} has no {old!r}"
    (tree / path).write_text(text.replace(old, new, count))


def sources(tree: Path) -> Iterable[Path]:
    """Return the sources of a tree."""
    for top in ("CMakeLists.txt", "cmake", "src", "include", "tools", "python"):
        place = tree / top
        found = [place] if place.is_file() else sorted(place.rglob("*"))
        yield from (p for p in found if p.suffix in SOURCES and p.is_file())


def add_files(tree: Path, kind: str) -> None:
    """Copy the files of tests/fork_files/KIND into the tree."""
    shutil.copytree(FILES / kind, tree, dirs_exist_ok=True)


def bvlc(tree: Path) -> None:
    """BVLC's master of 2018."""


def debian(tree: Path) -> None:
    """The same with Debian's patches."""


def bvlc_1_0(tree: Path) -> None:
    """SyncedMemory as in BVLC's release 1.0: two functions are not const."""
    edit(tree, "include/caffe/syncedmem.hpp", "head() const {", "head() {")
    edit(tree, "include/caffe/syncedmem.hpp", "size() const {", "size() {")
    edit(
        tree,
        PROTO,
        ": 149 (last added: clip_param)",
        ": 147 (last added: recurrent_param)",
    )


def numbers_taken(tree: Path) -> None:
    """The numbers of our fields belong to others."""
    lines = "".join(f"  optional int32 theirs_{n} = {n};\n" for n in range(200, 216))
    edit(tree, PROTO, _LAST, _LAST + lines)


def extensions(tree: Path) -> None:
    """LayerParameter has extensions from 150 on."""
    edit(tree, PROTO, _LAST, _LAST + "  extensions 150 to max;\n")


def reserved(tree: Path) -> None:
    """LayerParameter reserves numbers."""
    edit(tree, PROTO, _LAST, _LAST + "  reserved 149, 200 to 210;\n")


def crlf(tree: Path) -> None:
    """Every source has Windows line ends."""
    for path in sources(tree):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def tabs(tree: Path) -> None:
    """Sources are indented with tabs."""
    for path in sources(tree):
        if path.suffix in (".cpp", ".hpp", ".cu", ".proto"):
            text = path.read_bytes().decode("utf-8", "surrogateescape")
            text = re.sub(
                r"^(?:  )+", lambda m: "\t" * (len(m[0]) // 2), text, flags=re.M
            )
            path.write_bytes(text.encode("utf-8", "surrogateescape"))


def no_next_id(tree: Path) -> None:
    """caffe.proto has no line 'next available ID'."""
    text = (tree / PROTO).read_text()
    (tree / PROTO).write_text(re.sub(r"^.*next available.*\n", "", text, flags=re.M))


def lying_next_id(tree: Path) -> None:
    """The 'next available ID' is one that is taken."""
    edit(tree, PROTO, "layer-specific ID: 149", "layer-specific ID: 117")


def proto_package(tree: Path) -> None:
    """The messages are in another package, as where two Caffes share a process."""
    edit(tree, PROTO, "package caffe;", "package ourcaffe;")
    header = '#include "caffe/proto/caffe.pb.h"\n'
    names = (
        "// The messages are in a namespace of their own.\n"
        f"{header}namespace caffe {{ using namespace ourcaffe; }}\n"
    )
    new = tree / "include/caffe/messages.hpp"
    new.write_text(
        f"#ifndef CAFFE_MESSAGES_HPP_\n#define CAFFE_MESSAGES_HPP_\n{names}#endif\n"
    )
    for path in sources(tree):
        text = path.read_bytes()
        if path != new and header.encode() in text:
            path.write_bytes(
                text.replace(header.encode(), b'#include "caffe/messages.hpp"\n')
            )


def old_headers(tree: Path) -> None:
    """Before October 2015: a few large headers, no include/caffe/layers."""
    old_layout.convert(tree)


def segnet(tree: Path) -> None:
    """Large headers, and messages and losses of mid-2015 with a field of SegNet's."""
    old_headers(tree)
    proto = (tree / PROTO).read_text()
    start = proto.index("message LossParameter {")
    new = (
        "message LossParameter {\n"
        "  optional int32 ignore_label = 1;\n"
        "  optional bool normalize = 2 [default = true];\n"
        "  optional bool weight_by_label_freqs = 3 [default = false];"
    )
    end = proto.index("\n}\n", start)
    (tree / PROTO).write_text(proto[:start] + new + proto[end:])
    loss = "src/caffe/layers/loss_layer.cpp"
    edit(tree, loss, "bottom[0]->shape(0)", "bottom[0]->num()")
    edit(tree, loss, "bottom[1]->shape(0)", "bottom[1]->num()")
    memory = "include/caffe/syncedmem.hpp"
    edit(tree, memory, "void check_device();", "", count=2)


def four_axes(tree: Path) -> None:
    """Blobs have four axes, as before March 2015. (It is not to compile.)"""
    old_headers(tree)
    edit(tree, "include/caffe/blob.hpp", "const vector<int>& shape() const", "int n()")


def _templates(tree: Path, names: str, template: str) -> None:
    for path in sources(tree):
        if path.suffix not in (".hpp", ".cpp", ".cu") or "gtest" in path.parts:
            continue
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        if "Layer<Dtype>" not in text and "class Layer " not in text:
            continue
        text = re.sub(r"\btemplate ?<typename Dtype>", f"template<{template}>", text)
        text = re.sub(r"\bLayer<Dtype>", f"Layer<{names}>", text)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))


def opencl_template(tree: Path) -> None:
    """Layer has three types, as in the OpenCL branch. (It is not to compile.)"""
    _templates(
        tree,
        "Dtype, MItype, MOtype",
        "typename Dtype, typename MItype, typename MOtype",
    )


def nvidia_template(tree: Path) -> None:
    """Layer has two types, as in NVIDIA 0.17. (It is not to compile.)"""
    _templates(tree, "Ftype, Btype", "typename Ftype, typename Btype")


def merged_by_hand(tree: Path) -> None:
    """The paper's layer, merged by hand: message, field, and files of other names."""
    add_files(tree, "merged")
    field = "  optional SigmoidRandomDropCELossParameter randrop_loss_param = 150;\n"
    edit(tree, PROTO, _LAST, _LAST + field)
    with (tree / PROTO).open("a") as stream:
        stream.write(
            "\nmessage SigmoidRandomDropCELossParameter {\n"
            "  enum ScheduleType { LINEAR = 0; SQU = 1; LOG = 2; NONE = 3; }\n"
            "  optional ScheduleType schedule_type = 1 [default = LOG];\n}\n"
        )


def local_edits(tree: Path) -> None:
    """The user's own lines in files that mends and patches change, and a config."""
    edit(
        tree,
        "src/caffe/net.cpp",
        "#include <algorithm>",
        "#include <cstdio>\n#include <algorithm>",
    )
    for path in (PROTO, "src/caffe/util/io.cpp", "include/caffe/layer_factory.hpp"):
        with (tree / path).open("a") as stream:
            stream.write("// a line of the user's\n")
    config = (tree / "Makefile.config.example").read_text()
    (tree / "Makefile.config").write_text(config + "# the user's own\nCPU_ONLY := 1\n")


def read_only(tree: Path) -> None:
    """No file and no folder may be written."""
    for folder, _, names in os.walk(tree, topdown=False):
        for name in names:
            Path(folder, name).chmod(0o444)
        Path(folder).chmod(0o555)


def links(tree: Path) -> None:
    """caffe.proto, a source and a folder are links: one within the tree, two out."""
    outside = tree.with_name(tree.name + "-elsewhere")
    outside.mkdir()
    shutil.move(tree / "include/caffe/util", outside / "util")
    (tree / "include/caffe/util").symlink_to(f"../../../{outside.name}/util")
    shutil.move(tree / "src/caffe/util/io.cpp", outside / "io.cpp")
    (tree / "src/caffe/util/io.cpp").symlink_to(f"../../../../{outside.name}/io.cpp")
    shutil.move(tree / PROTO, tree / "src/caffe/proto/messages.txt")
    (tree / PROTO).symlink_to("messages.txt")


def git(tree: Path, *arguments: str) -> str:
    """Run git in the tree, as nobody in particular."""
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    command = ["git", "-C", str(tree), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def committed(tree: Path) -> None:
    """A clone with everything committed."""
    git(tree, "init", "-q", "-b", "master")
    git(tree, "add", "-A", "-f", ".")
    git(tree, "commit", "-q", "-m", "Caffe")


def staged(tree: Path) -> None:
    """A clone with work in the index, and more of it beside, of files that we patch."""
    committed(tree)
    with (tree / "src/caffe/net.cpp").open("a") as stream:
        stream.write("// staged\n")
    git(tree, "add", "src/caffe/net.cpp")
    for path in ("src/caffe/net.cpp", PROTO):
        with (tree / path).open("a") as stream:
            stream.write("// not staged\n")


def ssd(tree: Path) -> None:
    """OpenCV's names as SSD uses them, and Boost's regex library."""
    add_files(tree, "ssd")
    edit(
        tree,
        "cmake/Dependencies.cmake",
        "system thread filesystem",
        "system thread filesystem regex",
    )
    edit(tree, "Makefile", "boost_filesystem m\n", "boost_filesystem boost_regex m\n")
    no_openmp(tree)


def rfcn(tree: Path) -> None:
    """An expression is the limit of a message's size, as in R-FCN."""
    edit(
        tree,
        "src/caffe/util/io.cpp",
        "kProtoReadBytesLimit, 536870912",
        "kProtoReadBytesLimit, 1024*1024*1024",
    )


def intel(tree: Path) -> None:
    """Messages are read in a file of its own, as in Intel's fork; OpenMP by flags."""
    add_files(tree, "intel")
    edit(
        tree,
        "cmake/Dependencies.cmake",
        "COMPONENTS system thread filesystem",
        "COMPONENTS filesystem regex system thread",
    )


def no_openmp(tree: Path) -> None:
    """CMake has no option for OpenMP."""
    for path, pattern in (
        ("cmake/Dependencies.cmake", r"^# ---\[ OpenMP\n.*?^endif\(\)\n\n"),
        ("CMakeLists.txt", r"^caffe_option\(USE_OPENMP.*\n"),
    ):
        text = (tree / path).read_text()
        flags = re.M | re.S if "---" in pattern else re.M
        new, count = re.subn(pattern, "", text, flags=flags)
        assert count == 1, path
        (tree / path).write_text(new)


def shuffles(tree: Path) -> None:
    """std::random_shuffle in files that do not include Caffe's own."""
    add_files(tree, "shuffle")


def cmake_lines(tree: Path) -> None:
    """cmake_minimum_required in capitals with a patch level, and indented."""
    edit(
        tree,
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 2.8.7)",
        "  CMAKE_MINIMUM_REQUIRED( VERSION 2.8.12.2 FATAL_ERROR )",
    )
    folder = tree / "examples/mine"
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(
        "project(mine)\nif(TRUE)\n\tcmake_minimum_required(VERSION 2.8)\nendif()\n"
    )


KINDS: dict[str, Callable[[Path], None]] = {
    change.__name__.replace("_", "-"): change
    for change in (
        *(bvlc, debian, bvlc_1_0),
        *(numbers_taken, extensions, reserved, no_next_id, lying_next_id),
        *(proto_package, crlf, tabs, old_headers, segnet, four_axes),
        *(opencl_template, nvidia_template),
        *(merged_by_hand, local_edits, read_only, links, committed, staged),
        *(ssd, rfcn, intel, no_openmp, shuffles, cmake_lines),
    )
}
"""What `make` can make, by name; the function's description says what it is."""

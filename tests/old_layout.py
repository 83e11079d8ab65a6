"""Putting Caffe's headers back into the few large ones of before October 2015.

Until then include/caffe had common_layers.hpp, data_layers.hpp, loss_layers.hpp,
neuron_layers.hpp and vision_layers.hpp, the last including the others, and no folder
`layers`.
"""

import re
from pathlib import Path

ORDER = ("neuron", "common", "loss", "data", "vision")
_LAYERS = re.compile(r'^#include [<"]caffe/layers/(\w+)\.hpp[>"] *\n', re.MULTILINE)
_INCLUDE = re.compile(r"^#include .*\n", re.MULTILINE)
_VISION = ("conv", "deconv", "lrn", "lcn", "pooling", "im2col", "spp", "crop")


def convert(tree: Path) -> None:
    """Merge the headers of include/caffe/layers, and include the large ones instead."""
    folder = tree / "include/caffe/layers"
    texts = {p.stem: p.read_text() for p in sorted(folder.glob("*.hpp"))}
    python = texts.pop("python_layer")
    needs = {name: _LAYERS.findall(text) for name, text in texts.items()}
    groups = {name: _group(name, needs) for name in texts}
    done: list[str] = []
    for group in ORDER:
        members = [n for n in _in_order(needs) if groups[n] == group]
        done += members
        for name in members:
            late = [n for n in needs[name] if n not in done]
            assert not late, f"{name} needs {late}, which come later"
        (tree / f"include/caffe/{group}_layers.hpp").write_text(
            _large_header(group, [texts[name] for name in members])
        )
    (tree / "include/caffe/python_layer.hpp").write_text(python)
    for path in folder.glob("*.hpp"):
        path.unlink()
    folder.rmdir()
    for path in _users(tree):
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        new = _include_large(text, groups)
        if new != text:
            path.write_bytes(new.encode("utf-8", "surrogateescape"))
    makefile = (tree / "Makefile").read_text()
    (tree / "Makefile").write_text(
        makefile.replace("/layers/python_layer.hpp", "/python_layer.hpp")
    )


def _group(name: str, needs: dict[str, list[str]]) -> str:
    plain = name.removeprefix("cudnn_").removeprefix("base_")
    if "neuron_layer" in (name, *needs[name]):
        return "neuron"
    if name.startswith("cudnn_"):
        return _group(needs[name][0], needs)
    if "loss_layer" in name or "loss_layer" in needs[name]:
        return "loss"
    if "data" in name or "hdf5" in name:
        return "data"
    return "vision" if plain.startswith(_VISION) else "common"


def _in_order(needs: dict[str, list[str]]) -> list[str]:
    """Return the headers, each after those that it needs."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in needs and name not in order:
            for other in needs[name]:
                add(other)
            order.append(name)

    for name in needs:
        add(name)
    return order


def _large_header(group: str, texts: list[str]) -> str:
    guard = f"CAFFE_{group.upper()}_LAYERS_HPP_"
    before = ORDER if group == "vision" else ORDER[: ORDER.index(group)]
    includes, bodies = [], []
    for text in texts:
        body = re.sub(r"\A#ifndef (\w+)\n#define \1\n", "", text)
        body = re.sub(r"\n#endif[^\n]*\s*\Z", "\n", body)
        includes += _INCLUDE.findall(_LAYERS.sub("", body))
        bodies.append(_INCLUDE.sub("", body).strip() + "\n")
    own = [f'#include "caffe/{name}_layers.hpp"\n' for name in before if name != group]
    return (
        f"#ifndef {guard}\n#define {guard}\n\n"
        + "".join(dict.fromkeys(includes))
        + "".join(own)
        + "\n"
        + "\n".join(bodies)
        + f"\n#endif  // {guard}\n"
    )


def _users(tree: Path) -> list[Path]:
    return [
        path
        for top in ("src", "include", "tools", "examples", "python", "matlab")
        for path in sorted((tree / top).rglob("*"))
        if path.suffix in (".cpp", ".hpp", ".cu", ".cuh", ".h") and path.is_file()
    ]


def _include_large(text: str, groups: dict[str, str]) -> str:
    seen = set()

    def replace(match: re.Match) -> str:
        group = groups.get(match[1])
        line = f'#include "caffe/{group}_layers.hpp"\n'
        if group is None:
            line = f'#include "caffe/{match[1]}.hpp"\n'
        if line in seen:
            return ""
        seen.add(line)
        return line

    return _LAYERS.sub(replace, text)

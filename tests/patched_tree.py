"""Helpers for tests of the patch tool on a Caffe tree."""

import hashlib
import subprocess
import sys

from conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "patch_caffe.py"
PROTO = "src/caffe/proto/caffe.proto"
FIELD = "randrop_loss_param"


def hashes(root):
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file() and not p.is_symlink()
    }


def tool(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def edit(root, path, old, new):
    text = (root / path).read_text()
    assert old in text
    (root / path).write_text(text.replace(old, new, 1))


def add_field(root, line):
    edit(root, PROTO, "  optional TileParameter tile_param = 138;", f"  {line}\n")

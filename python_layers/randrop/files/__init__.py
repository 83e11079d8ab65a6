"""Files: written whole or not at all, nobody else's replaced, checked when read."""

from randrop.files.writing import (
    building,
    make_folder,
    output,
    replacing,
    write_bytes,
    write_json,
    write_text,
)

__all__ = [
    "building",
    "make_folder",
    "output",
    "replacing",
    "write_bytes",
    "write_json",
    "write_text",
]

"""Files: written atomically, checked when read, never replacing those of others."""

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

"""Writing a folder as one archive: the same bytes for the same content."""

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from tqdm import tqdm

BLOCK = 16 * 2**20
_TIME = 946684800  # 2000-01-01, the time of all files


def _xz(block: bytes) -> bytes:
    return lzma.compress(block, preset=6)


def _gz(block: bytes) -> bytes:
    return gzip.compress(block, 6, mtime=0)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {".xz": _xz, ".gz": _gz}
"""By the end of the archive's name.

Both formats may consist of parts that were compressed on their own, at the same time.
What is written does not depend on how many processors do it.
"""


class _Blocks(io.RawIOBase):
    """A stream that hands blocks to threads that compress, and writes them in order."""

    def __init__(self, stream: IO[bytes], compress: Callable[[bytes], bytes]) -> None:
        self._stream, self._compress = stream, compress
        self._buffer = bytearray()
        self._workers = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._workers)
        self._pending = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._buffer += data
        while len(self._buffer) >= BLOCK:
            self._submit(bytes(self._buffer[:BLOCK]))
            del self._buffer[:BLOCK]
        return len(data)

    def _submit(self, block: bytes) -> None:
        self._pending.append(self._pool.submit(self._compress, block))
        while len(self._pending) > self._workers:
            self._stream.write(self._pending.pop(0).result())

    def close(self) -> None:
        if not self.closed:
            if self._buffer:
                self._submit(bytes(self._buffer))
            for job in self._pending:
                self._stream.write(job.result())
            self._pool.shutdown()
        super().close()


def entries(top: Path) -> Iterator[Path]:
    """Return what is in a folder, in an order that depends on names alone."""
    yield from sorted(top.rglob("*"), key=lambda p: p.relative_to(top).as_posix())


def write(top: Path, path: Path, compress: Callable[[bytes], bytes], name: str) -> None:
    """Write a folder as an archive.

    Parameters
    ----------
    top : Path
        The folder.
    path : Path
        The archive.
    compress : callable
        One of COMPRESSIONS.
    name : str
        What the folder is called in the archive.
    """
    files = [top, *entries(top)]
    shown = tqdm(files, desc="packing", unit="file", disable=None)
    with (
        path.open("wb") as stream,
        _Blocks(stream, compress) as blocks,
        tarfile.open(fileobj=blocks, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for file in shown:
            inside = "/".join([name, *file.relative_to(top).parts])
            tar.add(file, inside, recursive=False, filter=_plain)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose it was, and when."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = _TIME
    executable = info.isdir() or info.mode & 0o100
    info.mode = 0o777 if info.issym() else 0o755 if executable else 0o644
    return info

"""One line of a check-up."""

import dataclasses
import os
import shutil
from pathlib import Path

OK, NO, UNKNOWN = "ok", "no", "unknown"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    group, name : str
        machine, build or tree, and what was looked at.
    state : str
        ok, no or unknown.
    words : str
        What there is, or what is missing and what that means.
    remedy : str
        The command that mends a "no"; empty if nothing does, or nothing is needed.
    needed : bool
        Without it, nothing can be built or trained; else it is a matter of speed, or of
        a way that is not the only one.
    """

    group: str
    name: str
    state: str
    words: str
    remedy: str = ""
    needed: bool = True


def as_root(command: str) -> str:
    """Return a command with sudo in front of its parts, unless this is root."""
    if os.geteuid() == 0:
        return command
    return " && ".join(f"sudo {part}" for part in command.split(" && "))


def install(*packages: str) -> str:
    """Return the command that installs Debian packages, also where apt has no lists."""
    names = " ".join(packages)
    return as_root(
        f"apt-get update && apt-get install -y --no-install-recommends {names}"
    )


def program_version(name: str, *arguments: str) -> str | None:
    """Return the first line that a program says, or None without the program."""
    from caffe_tools.toolchain import output_of

    path = shutil.which(name)
    if not path:
        return None
    lines = output_of([path, *(arguments or ("--version",))]).strip().splitlines()
    return lines[0] if lines else path


def size(number: float) -> str:
    """Return bytes as people write them."""
    return f"{number / 1e9:.1f} GB"


def nearest_folder(path: Path) -> Path:
    """Return the folder itself, or the closest one above it that exists."""
    while not path.is_dir():
        path = path.parent
    return path

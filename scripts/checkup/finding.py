"""One line of a check-up."""

import dataclasses
import os
import subprocess
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


def program_version(path: str) -> tuple[bool, str]:
    """Return whether a program tells its version, and that, or what is wrong."""
    try:
        result = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return False, error.strerror or str(error)
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    if result.returncode:
        return False, ": ".join([f"exit status {result.returncode}", *lines[-1:]])
    return bool(lines), lines[0] if lines else "no word of its version"


def size(number: float) -> str:
    """Return bytes as people write them."""
    return f"{number / 1e9:.1f} GB"


def nearest_folder(path: Path) -> Path:
    """Return the folder itself, or the closest one above it that exists."""
    while not path.is_dir():
        path = path.parent
    return path

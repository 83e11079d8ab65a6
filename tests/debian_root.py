"""Debian systems in a folder: made by debootstrap, entered by chroot, removed safely.

    python tests/debian_root.py make build/root-bookworm bookworm --packages python3
    python tests/debian_root.py run build/root-bookworm -- python3 --version
    python tests/debian_root.py remove build/root-bookworm

It takes root, and the Debian archive that this machine's apt configuration names.
Everything is mounted in a mount namespace that ends with the command, so a folder that
is removed never has the machine's own files mounted in it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from caffe_tools.apt_config import debian_archives

MARK = ".randrop-debian-root"
"""File that says that a folder was made here, and may be removed."""

USER = "user"
_USER_ID = 12345
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Run in namespaces of its own: "$1" is the root, "$2" who, then come threes of
# outside, inside and ro or rw until "--", then the command.
_ENTER = r"""
set -e
root=$1; who=$2; shift 2
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  : > "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir -m 1777 "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
while [ "$1" != -- ]; do
  mount --bind "$1" "$root/$2"
  if [ "$3" = ro ]; then mount -o remount,bind,ro "$root/$2"; fi
  shift 3
done
shift
if [ -n "$RANDROP_ROOT_LOOPBACK" ]; then ip link set lo up || true; fi
unset RANDROP_ROOT_LOOPBACK
exec chroot --userspec="$who" "$root" "$@"
"""


def why_not() -> str | None:
    """Return why no Debian root can be made here, or None if it can."""
    if os.geteuid() != 0:
        return "making a Debian system in a folder takes root"
    missing = [
        name
        for name in ("debootstrap", "unshare", "chroot")
        if not shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    ]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install debootstrap"
    if not debian_archives(Path("/etc/apt")):
        return "apt's configuration names no Debian archive"
    allowed = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if allowed.returncode:
        return f"no namespaces here: {allowed.stderr.strip()}"
    return None


def make(
    folder: Path,
    suite: str,
    packages: tuple[str, ...] = (),
    components: tuple[str, ...] = ("main",),
    cache: Path | None = None,
) -> Path:
    """Make a minimal Debian system of a suite, with packages; return its folder.

    Parameters
    ----------
    folder : Path
        Where; it must not exist. A killed run leaves only `folder` with ".new".
    suite : str
        bullseye, bookworm, trixie, sid, ...
    packages : tuple of str
        More packages, which apt installs in it, without recommended ones.
    components : tuple of str
        Components of the archive.
    cache : Path or None
        Folder that keeps downloaded packages for the next root.

    Raises
    ------
    FileExistsError
        If the folder exists.
    RuntimeError
        If it cannot be made; has what debootstrap or apt said.
    """
    folder = folder.absolute()
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} exists: remove it first")
    reason = why_not()
    if reason:
        raise RuntimeError(reason)
    uri, key = debian_archives(Path("/etc/apt"))[0]
    new = folder.with_name(folder.name + ".new")
    if new.exists():
        remove(new)
    new.mkdir(parents=True)
    (new / MARK).touch()
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--components={','.join(components)}",
    ]
    if key.strip().startswith("/"):
        command.append(f"--keyring={key.strip()}")
    # For an archive by https, apt needs certificates before it can fetch any.
    command.append("--include=ca-certificates")
    if cache:
        cache.mkdir(parents=True, exist_ok=True)
        command.append(f"--cache-dir={cache.absolute()}")
    result = subprocess.run(
        [*command, suite, str(new), uri],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PATH": _PATH},
    )
    if result.returncode:
        log = new / "debootstrap" / "debootstrap.log"
        tail = log.read_text(errors="replace")[-1000:] if log.exists() else ""
        raise RuntimeError(f"debootstrap {suite}: {result.stdout[-800:]}\n{tail}")
    # A machine that is told how to reach the archive must tell the root.
    for place in ("resolv.conf", "hosts"):
        if Path("/etc", place).exists():
            shutil.copyfile(f"/etc/{place}", new / "etc" / place)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        (new / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(certificates, new / "etc/ssl/certs/ca-certificates.crt")
    (new / "etc/apt/apt.conf.d/90randrop").write_text(
        'APT::Sandbox::User "root";\nAPT::Install-Recommends "false";\n'
        # An archive that is frozen at a day keeps that day's signatures.
        'Acquire::Check-Valid-Until "false";\n'
    )
    check(new, ["useradd", "--uid", str(_USER_ID), "--create-home", USER])
    if packages:
        install(new, packages)
    new.rename(folder)
    return folder


def install(folder: Path, packages: tuple[str, ...]) -> None:
    """Install packages in a root, by its own apt.

    Raises
    ------
    RuntimeError
        If apt fails; has what it said.
    """
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    check(folder, ["apt-get", "update"], network=True, env=env)
    check(folder, ["apt-get", "install", "-y", *packages], network=True, env=env)
    check(folder, ["apt-get", "clean"])


def run(
    folder: Path,
    command: list[str],
    *,
    user: bool = False,
    network: bool = False,
    binds: dict[Path, str] | None = None,
    writable: dict[Path, str] | None = None,
    env: dict[str, str] | None = None,
    timeout: float | None = None,
    **options: object,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a root, with its own /proc and a bare /dev.

    Parameters
    ----------
    folder : Path
        The root.
    command : list of str
        The command, as the root knows it.
    user : bool
        As an unprivileged user with a home folder, instead of root.
    network : bool
        With the machine's network; else there is none at all.
    binds : dict of Path to str
        Folders of the machine to see, read-only, at paths of the root (made if
        missing).
    writable : dict of Path to str
        The same, but the command may write there.
    env : dict of str to str
        Variables; nothing else of this machine's environment is seen.
    timeout : float or None
        Seconds.
    **options
        For subprocess.run.
    """
    folder = folder.absolute()
    home = f"/home/{USER}" if user else "/root"
    who = f"{_USER_ID}:{_USER_ID}" if user else "0:0"
    seen = []
    for mode, places in (("ro", binds), ("rw", writable)):
        for outside, inside in (places or {}).items():
            (folder / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
            seen += [str(Path(outside).absolute()), inside.lstrip("/"), mode]
    namespaces = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    if not network:
        namespaces.append("--net")
    variables = {"PATH": _PATH, "HOME": home, "LC_ALL": "C.UTF-8", **(env or {})}
    settings = [f"{name}={value}" for name, value in variables.items()]
    defaults = {"capture_output": True, "text": True, "errors": "replace"}
    return subprocess.run(
        [
            *("unshare", *namespaces, "--propagation", "private"),
            *("sh", "-c", _ENTER, "sh", str(folder), who, *seen, "--"),
            *("env", "-i", *settings, *command),
        ],
        check=False,
        timeout=timeout,
        env={
            "PATH": _PATH,
            **({} if network else {"RANDROP_ROOT_LOOPBACK": "1"}),
        },
        **{**defaults, **options},
    )


def check(folder: Path, command: list[str], **options: object) -> str:
    """Run a command as `run` does; return its output.

    Raises
    ------
    RuntimeError
        If it fails; has the command and what it said last.
    """
    result = run(folder, command, **options)
    if result.returncode:
        said = ((result.stdout or "") + (result.stderr or ""))[-3000:]
        raise RuntimeError(f"{' '.join(command)} ({result.returncode}):\n{said}")
    return result.stdout or ""


def mounts_below(folder: Path) -> list[str]:
    """Return the mount points below a folder."""
    table = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    points = [line.split(" ")[4] for line in table.splitlines()]
    # A space in a path is written \040.
    points = [re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), p) for p in points]
    inside = str(folder.resolve()).rstrip("/") + "/"
    return [point for point in points if (point + "/").startswith(inside)]


def remove(folder: Path) -> None:
    """Remove a root that `make` made.

    Raises
    ------
    ValueError
        If it did not make it.
    RuntimeError
        If something is mounted in it.
    """
    if folder.is_symlink() or not (folder / MARK).is_file():
        raise ValueError(f"{folder} was not made by debian_root.py: not removed")
    mounted = mounts_below(folder)
    if mounted:
        raise RuntimeError(f"mounted in {folder}: {', '.join(mounted)}: umount first")
    subprocess.run(
        ["rm", "-rf", "--one-file-system", "--", str(folder.absolute())], check=True
    )


class Temporary:
    """A root for a `with` statement, in a temporary folder."""

    def __init__(self, suite: str, packages: tuple[str, ...] = ()) -> None:
        self._suite, self._packages = suite, packages

    def __enter__(self) -> Path:
        self._folder = Path(tempfile.mkdtemp(prefix="randrop-root-"))
        self._folder.chmod(0o755)
        self._root = self._folder / self._suite
        return make(self._root, self._suite, self._packages)

    def __exit__(self, *error: object) -> None:
        for made in (self._root, self._root.with_name(self._root.name + ".new")):
            if made.exists():
                remove(made)
        self._folder.rmdir()


def main() -> int:
    """Make, enter or remove a root."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("make", help="make a root")
    making.add_argument("folder", type=Path)
    making.add_argument("suite")
    making.add_argument("--packages", nargs="*", default=[])
    making.add_argument("--cache", type=Path, help="folder that keeps packages")
    running = actions.add_parser("run", help="run a command in a root")
    running.add_argument("folder", type=Path)
    running.add_argument("--user", action="store_true", help="unprivileged")
    running.add_argument("--network", action="store_true")
    running.add_argument("--bind", nargs=2, action="append", default=[])
    running.add_argument("command", nargs="+")
    removing = actions.add_parser("remove", help="remove a root")
    removing.add_argument("folder", type=Path)
    options = parser.parse_args()
    try:
        if options.action == "make":
            make(
                options.folder,
                options.suite,
                tuple(options.packages),
                cache=options.cache,
            )
        elif options.action == "remove":
            remove(options.folder)
        else:
            return run(
                options.folder,
                options.command,
                user=options.user,
                network=options.network,
                binds={Path(a): b for a, b in options.bind},
                capture_output=False,
            ).returncode
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What was measured of a bundle on clean Debian systems."""

from collections.abc import Mapping
from typing import Any

from figures.words import bullets, listed


def bundle(content: Mapping[str, Any]) -> str:
    """Return sizes, times and needs of a bundle as a list."""
    processor = listed(content["processor"]) if content["processor"] else "any"
    lines = [
        f"Size: {content['unpacked_bytes'] / 1e6:.0f} MB unpacked, in "
        f"{content['files']} files of {content['packages']} packages; "
        f"{content['gz_bytes'] / 1e6:.0f} MB as `.tar.gz`, made in "
        f"{content['pack_gz_seconds']} s"
    ]
    if "xz_bytes" in content:
        lines[0] += f"; {content['xz_bytes'] / 1e6:.0f} MB as `.tar.xz`"
    lines[0] += "."
    if content.get("same_bytes"):
        lines.append("Made a second time, the archive had the same bytes.")
    lines.append(f"GNU C library: {content['glibc']} or newer. Processor: {processor}.")
    for suite, seconds in content["systems"].items():
        steps = ", ".join(f"{name} {number:g} s" for name, number in seconds.items())
        lines.append(
            f"Debian {suite} without any of Caffe's packages, as a user, without a "
            f"network: losses, weights and maps are equal to the bit ({steps})."
        )
    missing = [f"`{name}`" for name in content["without_licence_text"]]
    lines.append(
        f"Packages without a licence text: {listed(missing) if missing else 'none'}."
    )
    return bullets(lines)

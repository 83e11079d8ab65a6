"""What a build from PyPI's packages for a GPU is made of."""

from collections.abc import Mapping
from typing import Any

from figures.words import listed


def gpu_build(content: Mapping[str, Any]) -> str:
    """Return the packages and products, their sizes, and what it took."""
    packages = [
        f"| {name} {package['version']} | {package['megabytes']:.0f} |"
        for name, package in content["packages"].items()
    ]
    built = [f"| {name} | {size:.0f} |" for name, size in content["megabytes"].items()]
    total = sum(package["megabytes"] for package in content["packages"].values())
    minutes = content["processor_seconds"] / 60
    layers = len(content["layers_with_gpu_code"])
    place = "where CUDA was hidden" if content["cuda_hidden"] else "as it is"
    return "\n".join(
        [
            f"nvcc {content['nvcc']} and GCC {content['compiler']} took {minutes:.0f} "
            f"minutes of one core for architecture {listed(content['architectures'])}, "
            f"on a machine {place}. {layers} of our layer types have GPU code. Nothing "
            "was run on a GPU.",
            "",
            "| package of PyPI | MB on disk |",
            "|---|---:|",
            *packages,
            f"| all | {total:.0f} |",
            "",
            "| built | MB |",
            "|---|---:|",
            *built,
        ]
    )

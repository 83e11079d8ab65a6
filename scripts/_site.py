"""The pages of the site, for mkdocs (mkdocs.yml): README, docs/, and what they show."""

import os
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

PAGES = (
    *("README.md", "LICENSE", "docs/**/*", "proto/LAYERS.md", "models/*/README.md"),
    "caffe_patches/README.md",
    *("results/*.md", "results/*.png", "results/*.jpg"),
)
"""Patterns of paths in the repository; the site has the same ones."""


def on_config(config: Any) -> Any:
    """Put the site below $RANDROP_BUILD, if that is set and no other place is given."""
    root = Path(config.config_file_path).parent
    if os.environ.get("RANDROP_BUILD") and Path(config.site_dir) == root / "build/site":
        config.site_dir = str(Path(os.environ["RANDROP_BUILD"]).resolve() / "site")
    return config


def on_files(files: Any, config: Any) -> Any:
    """Replace the files of docs/ with those of PAGES, named from the repository."""
    root = Path(config.config_file_path).parent
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for pattern in PAGES:
        for path in sorted(root.glob(pattern)):
            if path.is_file():
                files.append(
                    File(
                        path.relative_to(root).as_posix(),
                        str(root),
                        config.site_dir,
                        config.use_directory_urls,
                    )
                )
    return files

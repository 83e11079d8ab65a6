"""Write the measured figures into README.md and docs/, from the files in results/."""

WANTED: str = "Python 3.10 or newer"

import argparse
import re
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from figures import TABLES
from randrop import cli
from randrop.errors import UserError
from randrop.files import replacing, schema
from randrop.pycaffe.build import REPOSITORY

DESCRIPTION = """\
Write the measured figures into README.md and the pages of docs/, from the files in
results/ and models/. The text between "<!-- table NAME -->" and "<!-- end -->" is
replaced. With --check nothing is written, and a table that does not match its file is
an error.
"""

EPILOG = """\
  scripts/readme_tables.py            after a benchmark wrote its file in results/
  scripts/readme_tables.py --check    as the tests do
"""


def pages() -> list[Path]:
    """Return README and all pages of docs/."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def filled(text: str, repository: Path, page: str = "README.md") -> str:
    """Return a page's text with every table generated from its file.

    Raises
    ------
    UserError
        If a table is unknown, or has no end.
    """

    def made(found: re.Match[str]) -> str:
        name = found[1]
        if name not in TABLES:
            raise UserError(
                f"{page}: unknown table {name!r}: choose from {', '.join(TABLES)}"
            )
        path, make = TABLES[name]
        content = schema.read_json(repository / path, Any, "write it again")
        return f"<!-- table {name} -->\n{make(content)}\n<!-- end -->"

    result, count = re.subn(
        r"^<!-- table (\S+) -->.*?<!-- end -->$",
        made,
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    if count != len(re.findall(r"^<!-- table ", text, re.MULTILINE)):
        raise UserError(f"{page}: a table has no <!-- end -->: add it")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Write or check; return 0."""
    parser = cli.parser(DESCRIPTION, EPILOG)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument(
        "--pages",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="files to write (default: README.md and docs/)",
    )
    options: argparse.Namespace = parser.parse_args(arguments)
    for page in options.pages or pages():
        before = page.read_text(encoding="utf-8")
        after = filled(before, REPOSITORY, page.name)
        if after == before:
            continue
        if options.check:
            raise UserError(
                f"{page}: its tables differ from results/: run scripts/readme_tables.py"
            )
        with replacing(page, edited=True) as temporary:
            temporary.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    cli.run(main)

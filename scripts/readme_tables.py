"""Write the tables of measured figures into README.md, from the files in results/."""

WANTED: str = "Python 3.10 or newer"

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _start  # noqa: F401

from randrop import cli
from randrop.errors import UserError
from randrop.files import replacing, schema
from randrop.pycaffe.build import REPOSITORY
from randrop.report import comparison_tables, model_card
from randrop.report.markdown import table

DESCRIPTION = """\
Write the tables of measured figures into README.md, from the files in results/ and
models/: what stands between "<!-- table NAME -->" and "<!-- end -->" is made anew. With
--check nothing is written, and a table that is not of its file is an error.
"""


def losses(content: Mapping[str, Any]) -> str:
    """Return the comparison of losses: precision, FROC, cost of an iteration."""
    lesions = list(next(iter(content["photographs"].values())))
    heads = ["loss", "learning rate"]
    heads += [head for name in lesions for head in (name, "difference")]
    heads += [f"{name}, each seed" for name in lesions]
    heads += [f"{name} FROC" for name in lesions] + ["ms", "of it the loss"]
    rows = []
    for loss, row in content["photographs"].items():
        means, cost = content["losses"][loss], content["costs"][loss]
        rows.append(
            [
                f"`{loss}`",
                f"{content['learning_rates'][loss]}",
                *comparison_tables.photograph_cells(row),
                *(
                    ", ".join(
                        f"{run['measures'][f'{name} average precision']:.2f}"
                        for run in content["runs"]
                        if run["loss"] == loss
                    )
                    for name in lesions
                ),
                *(f"{means[f'{x} FROC score']['mean']:.3f}" for x in lesions),
                f"{cost['ms']:.0f}",
                f"{cost['loss_share']:.1%}",
            ]
        )
    return table(heads, rows)


TABLES = {
    "idrid-losses": ("results/idrid_losses.json", losses),
    "idrid-model": (
        "models/idrid/metrics.json",
        lambda content: model_card.measured_table(content["lesions"]),
    ),
}


def filled(text: str, repository: Path) -> str:
    """Return README's text with every table as its file has it.

    Raises
    ------
    UserError
        When a table is unknown, or has no end.
    """

    def made(found: re.Match[str]) -> str:
        name = found[1]
        if name not in TABLES:
            raise UserError(f"README.md: no table {name!r}: there are {list(TABLES)}")
        path, make = TABLES[name]
        content = schema.read_json(repository / path, dict[str, Any], "make it anew")
        return f"<!-- table {name} -->\n{make(content)}\n<!-- end -->"

    result, count = re.subn(
        r"<!-- table (\S+) -->.*?<!-- end -->", made, text, flags=re.DOTALL
    )
    if count != text.count("<!-- table "):
        raise UserError("README.md: a table lacks its <!-- end -->")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Write or check; return 0."""
    parser = cli.parser(DESCRIPTION)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument(
        "--readme", type=Path, default=REPOSITORY / "README.md", help="file to write"
    )
    options: argparse.Namespace = parser.parse_args(arguments)
    before = options.readme.read_text()
    after = filled(before, REPOSITORY)
    if after == before:
        return 0
    if options.check:
        raise UserError(
            f"{options.readme}: its tables are not those of results/: run "
            "scripts/readme_tables.py"
        )
    with replacing(options.readme, edited=True) as temporary:
        temporary.write_text(after)
    return 0


if __name__ == "__main__":
    cli.run(main)

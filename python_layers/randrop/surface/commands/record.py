"""Record what losses and predictions are, pixel by pixel, through a training."""

import argparse

from randrop.errors import UserError

NAME = "record"
HELP = "loss maps through a training"
DESCRIPTION = """\
Record what losses and predictions are, pixel by pixel, through a training.
"""
EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(options: argparse.Namespace) -> int:
    """Return 0."""
    raise UserError("surface.py record is not available in this version")

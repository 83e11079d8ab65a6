"""The commands of `surface.py`, one module each.

A module has NAME, HELP (one line), DESCRIPTION, EXAMPLES, `add_arguments(parser)` and
`run(options)`, which returns the exit status. All modules are imported for each
command, so `run` imports what takes long to load.
"""

from types import ModuleType

from randrop.surface.commands import (
    curves,
    figure,
    landscape,
    measures,
    record,
    view,
)

COMMANDS: tuple[ModuleType, ...] = (
    curves,
    record,
    landscape,
    view,
    figure,
    measures,
)

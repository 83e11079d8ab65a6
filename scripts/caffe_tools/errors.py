"""The error that the tools show as a sentence."""


class ToolError(Exception):
    """Something the user can mend: shown as `error: ...`, exit status 2."""

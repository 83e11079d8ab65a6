"""The error that the tools show as one sentence."""


class ToolError(Exception):
    """An error that the user can fix: shown as `error: ...`, exit status 2."""

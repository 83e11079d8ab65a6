"""The error that the command-line tools show as one sentence."""


class UserError(ValueError):
    """Invalid input: the message names the file, the value and the remedy."""

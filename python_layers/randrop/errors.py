"""The one error that the command-line tools show as a sentence."""


class UserError(ValueError):
    """Bad input: the message names the file, the value and the remedy."""

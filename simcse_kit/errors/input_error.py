"""The one exception for a user's mistake: its message is one clear sentence."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what is wrong, where (file:line, row, key) and what to do.
    The command line prints it alone and exits with code 2.
    """

"""The one exception for a user's mistake: its message is one clear sentence."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what is wrong, where (file:line, row, key) and what to do.
    The command line prints it alone and exits with code 2.

    Args:
        message: the sentence, in Python's words where it names an argument.
        command_line: the same for the command line, where an option has another spelling.
    """

    def __init__(self, message: str, *, command_line: str | None = None) -> None:
        super().__init__(message)
        self.command_line = message if command_line is None else command_line

"""The one exception for a user's mistake: its message is one clear sentence."""

from __future__ import annotations


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


class TextError(InputError):
    """One of several texts cannot be used; who has more of them says which of all it is.

    Args:
        number: of the text, from 0.
        said: the sentence, with ``{}`` where the number stands.
    """

    def __init__(self, number: int, said: str) -> None:
        super().__init__(said.replace("{}", str(number), 1))
        self.number, self.said = number, said

    def __reduce__(self) -> tuple[type[TextError], tuple[int, str]]:
        """For other processes: an exception is made anew of its message alone."""
        return TextError, (self.number, self.said)

    def at(self, number: int) -> TextError:
        """The same of the text under another number."""
        return TextError(number, self.said)

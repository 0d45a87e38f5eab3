"""Define the exceptions that commands turn into a single line and an exit status."""


class InputError(ValueError):
    """An ``InputError`` says that something the user gave (a file, a flag, a setting) is unusable.

    The message names the file or argument, the field, and what was expected, in one line, whatever line breaks are in
    the user's names and the libraries' messages that it quotes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class Terminated(BaseException):
    """A ``Terminated`` is raised by SIGTERM, as Slurm sends it before it takes a node away: half-written files go."""

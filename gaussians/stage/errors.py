"""The exceptions that commands turn into a single line and an exit status."""


class InputError(ValueError):
    """Something the user gave (a file, a flag, a setting) is unusable.

    The message names the file or argument, the field, and what was expected, in one line, whatever line breaks are in
    the user's names and the libraries' messages that it quotes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class Terminated(BaseException):
    """SIGTERM came, as it does before Slurm takes a node away: what is half written is to be dropped."""

"""Go on with the others where one of many fails."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from gaussians.stage.errors import InputError


@contextmanager
def reporting(failures: list[str], what: str) -> Iterator[None]:
    """Print an error of the block to standard error, add it to ``failures``, and go on.

    Bad input is a line; anything else, which is a defect, comes with its traceback.

    Args:
        what: what could not be done, at the beginning of the line.
    """
    try:
        yield
    except BrokenPipeError:  # nobody reads any more what is printed
        raise
    except Exception as error:
        if not isinstance(error, InputError):
            traceback.print_exc()
        failures.append(f"{what}: {error if isinstance(error, InputError) else repr(error)}")
        print(failures[-1], file=sys.stderr, flush=True)

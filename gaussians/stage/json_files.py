"""Read and write JSON files, and check them against a type with errors in one line."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

T = TypeVar("T")

MAX_BYTES = 16 * 2**20
"""The largest JSON file that is read; its values may take twenty times as much memory."""
MAX_VALUES = 500_000
"""The most values that are checked at once; what is wrong with each may take a kilobyte."""


def read_json(path: str | Path) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: the file is missing, unreadable, over ``MAX_BYTES``, or not JSON, gives a key twice, or holds a
            whole number past the range of double precision; the message of a syntax error has the line and column.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"{path}: expected at most {MAX_BYTES} bytes of JSON")
        return parse_json(data.decode("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not valid JSON: expected UTF-8 text") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # what ``parse_json`` refuses, or thousands of lists in lists
        raise InputError(f"{path}: not usable JSON: {error}") from None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text; as in Python's own reader NaN and Infinity are numbers.

    Raises:
        ValueError: the text is not JSON (``json.JSONDecodeError``), or it has a key twice in one object or a whole
            number past the range of double precision.
        RecursionError: lists or objects are nested thousands deep.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_int=_integer)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, of which other readers would keep the last of several values of one key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {_shortened(json.dumps(twice))} stands twice in one object")
    return found


def _integer(text: str) -> int:
    if math.isinf(float(text)):
        raise ValueError(f"a number past the range of double precision: {_shortened(text)}")
    return int(text)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json_as(path: str | Path, kind: type[T]) -> T:
    """Read a JSON file as ``kind``: a pydantic model, a dataclass, or a list or dict of them.

    Raises:
        InputError: the file is missing, not JSON, or does not fit ``kind``.
    """
    return validated(path, read_json(path), kind)


def read_versioned_json(path: str | Path, newest: int, kind: type[T]) -> T:
    """Read a JSON file as ``kind``, whose ``format_version``, if it has one, is at most ``newest``.

    Raises:
        InputError: as in ``read_json_as``, or the file is of a later format version.
    """
    contents = read_json(path)
    version = contents.get("format_version") if isinstance(contents, dict) else None
    if isinstance(version, int) and version > newest:
        raise InputError(f"{path}: format_version: expected at most {newest}, found {version}")
    return validated(path, contents, kind)


def validated(where: str | Path, value: Any, kind: type[T]) -> T:
    """Convert ``value``, as JSON has it, to ``kind``.

    Raises:
        InputError: it does not fit; the message begins with ``where`` and names the field, what was expected and what
            was found.
    """
    if (count := _count_values(value)) > MAX_VALUES:
        raise InputError(f"{where}: expected at most {MAX_VALUES} values, found {count}")
    try:
        # Validating JSON text lets strict types take arrays as tuples, and convert nothing else.
        return TypeAdapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        raise InputError(f"{where}: {describe_problem(error)}") from None
    except RecursionError as error:
        raise InputError(f"{where}: not usable JSON: {error}") from None


def _count_values(value: Any) -> int:
    """Return the number of values in a tree of JSON, lists and objects included."""
    count, pending = 0, [value]
    while pending:
        inner = pending.pop()
        count += 1
        if isinstance(inner, dict):
            pending.extend(inner.values())
        elif isinstance(inner, list):
            pending.extend(inner)
    return count


def describe_problem(error: ValidationError) -> str:
    """Return the first problem of a validation in one line: the field, what was expected, what was found."""
    problems = error.errors(include_url=False, include_context=False)
    # Where a field has alternatives (a number, or numbers by name), report the one whose JSON type fits.
    of_first_field = [problem for problem in problems if problem["loc"][:1] == problems[0]["loc"][:1]]
    problem = max(of_first_field, key=lambda p: (len(p["loc"]), not p["type"].endswith("_type")))
    # A key of the file may hold line breaks: escape them.
    place = ".".join(json.dumps(step).strip('"') for step in problem["loc"] if not _is_alternative(step))
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{place}: unknown key"
    if problem["type"] == "missing":
        return f"{place}: missing"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if problem["type"] != "value_error":
        message += f", found {_shortened(json.dumps(problem['input'], default=str))}"
    return f"{place}: {message}" if place else message


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _is_alternative(step: int | str) -> bool:
    """Return whether a step of an error's place is pydantic's name for one alternative of a union."""
    names = ("dict[", "tuple[", "constrained-", "function-after[")
    return isinstance(step, str) and (step in {"float", "str"} or step.startswith(names))

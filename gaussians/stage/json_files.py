"""Read and write JSON files, and check them against a type with errors in one line."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

T = TypeVar("T")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable, or not JSON; the message has the line and column.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not valid JSON: expected UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # thousands of digits, or of lists in lists
        raise InputError(f"{path}: not usable JSON: {error}") from None


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


def validated(where: str | Path, value: Any, kind: type[T]) -> T:
    """Convert ``value``, as JSON has it, to ``kind``.

    Raises:
        InputError: it does not fit; the message begins with ``where`` and names the field, what was expected and what
            was found.
    """
    try:
        # Validating JSON text lets strict types take arrays as tuples, and convert nothing else.
        return TypeAdapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        raise InputError(f"{where}: {describe_problem(error)}") from None


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
        found = json.dumps(problem["input"], default=str)
        message += f", found {found if len(found) <= 60 else found[:57] + '...'}"
    return f"{place}: {message}" if place else message


def _is_alternative(step: int | str) -> bool:
    """Return whether a step of an error's place is pydantic's name for one alternative of a union."""
    return isinstance(step, str) and (step in {"float", "str"} or step.startswith(("dict[", "tuple[", "constrained-")))

"""Read the tables of a PLY file without trusting the sizes that its header declares."""

import io
import itertools
import math
import re
import struct
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement, PlyListProperty, PlyParseError

from gaussians.stage.errors import InputError

MAX_HEADER = 2**20
"""The longest header that is read, bytes."""
MAX_LISTS = 10**6
"""The most rows with lists that are read over in a binary file: they have to be walked one by one."""

_VERTICAL_AXIS = re.compile(r"vertical axis\s*[:=]?\s*([+-]?[xyz])\b", re.IGNORECASE)


@dataclass(frozen=True)
class PlyTables:
    """A ``PlyTables`` holds tables of a PLY file.

    Attributes:
        tables: the columns of each table by name; those of one table are equally long. Binary ones are mapped.
        comments: lines of comments, and of ``obj_info``, in any encoding; letters beyond UTF-8 are replaced.
        names: the names of all tables of the file.
    """

    tables: dict[str, dict[str, np.ndarray]]
    comments: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def up(self) -> str | None:
        """Return the upward axis that a comment such as ``Vertical Axis: z`` names."""
        found = next((match for match in map(_VERTICAL_AXIS.search, self.comments) if match), None)
        return None if found is None else found[1].lower().removeprefix("+")


@dataclass(frozen=True)
class _Header:
    """A ``_Header`` is what a PLY file says of itself before its rows.

    Attributes:
        elements: the tables with their properties; their counts are zero here.
        counts: the declared number of rows of each.
        text: whether the rows are text.
        order: the byte order of binary rows, ``<`` or ``>``.
        comments: lines of comments.
        size: bytes of the header.
    """

    elements: tuple[PlyElement, ...]
    counts: tuple[int, ...]
    text: bool
    order: str
    comments: tuple[str, ...]
    size: int


def read_ply_tables(path: Path, wanted: Collection[str]) -> PlyTables:
    """Read those tables of a PLY file that are ``wanted``, ASCII or binary of either byte order.

    Raises:
        InputError: the file is missing, not a PLY, or truncated, or a wanted table has lists.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            header = _read_header(path, file.read(MAX_HEADER))
            _check_counts(path, header, size)
            file.seek(header.size)
            read = _text_tables if header.text else _binary_tables
            tables = dict(read(path, file, header, wanted, size))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except InputError:
        raise
    except (PlyParseError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: truncated or damaged PLY: {error}") from None
    return PlyTables(tables, header.comments, tuple(element.name for element in header.elements))


def _read_header(path: Path, head: bytes) -> _Header:
    """Read a header with plyfile, but for its comments, which may be in any encoding, and its counts."""
    if head[:3] != b"ply":
        raise InputError(f"{path}: not a PLY file: expected it to begin with 'ply'")
    line_end = b"\r\n" if head[3:5] == b"\r\n" else head[3:4]
    if line_end not in (b"\n", b"\r", b"\r\n"):
        raise InputError(f"{path}: truncated or damaged PLY: expected a line 'ply'")
    last = line_end + b"end_header" + line_end
    if (end := head.find(last)) < 0:
        raise InputError(f"{path}: truncated or damaged PLY: no line 'end_header' in {len(head)} bytes")
    grammar, comments, counts = [], [], []
    for line in head[:end].split(line_end):
        words = line.split()
        if words[:1] in ([b"comment"], [b"obj_info"]):
            comments.append(line.partition(b" ")[2].decode(errors="replace"))
            continue
        if words[:1] == [b"element"] and len(words) == 3:
            if not re.fullmatch(rb"\d{1,18}", words[2]):
                raise InputError(f"{path}: truncated or damaged PLY: expected a number of rows, found {words[2]!r}")
            counts.append(int(words[2]))
            line = b"element " + words[1] + b" 0"
        grammar.append(line.decode("ascii", errors="backslashreplace"))
    found = PlyData.read(io.BytesIO("\n".join([*grammar, "end_header\n"]).encode()))
    order = "<" if found.byte_order in ("<", "=") else ">"
    return _Header(found.elements, tuple(counts), found.text, order, tuple(comments), end + len(last))


def _check_counts(path: Path, header: _Header, size: int) -> None:
    """Refuse rows that the file has no room for, before anything is allocated for them."""
    for element, count in zip(header.elements, header.counts, strict=True):
        # Text has a character and a separator for each number; a list may be empty and then is its length alone.
        least = 2 * len(element.properties) - 1 if header.text else _least_bytes(element)
        if count * max(least, 1) > size - header.size + 1:
            raise InputError(f"{path}: truncated or damaged PLY: {count} rows declared in {size} bytes")


def _least_bytes(element: PlyElement) -> int:
    return sum(
        np.dtype(prop.list_dtype()[0] if isinstance(prop, PlyListProperty) else prop.dtype()).itemsize
        for prop in element.properties
    )


def _has_lists(element: PlyElement) -> bool:
    return any(isinstance(prop, PlyListProperty) for prop in element.properties)


def _check_lists(path: Path, element: PlyElement) -> None:
    for prop in element.properties:
        if isinstance(prop, PlyListProperty):
            raise InputError(f"{path}: property {prop.name!r}: expected numbers, found a list")


def _text_tables(
    path: Path, file: io.BufferedReader, header: _Header, wanted: Collection[str], size: int
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    for element, count in zip(header.elements, header.counts, strict=True):
        lines = itertools.islice(file, count)
        if element.name not in wanted:
            if sum(1 for _ in lines) < count:
                raise InputError(f"{path}: truncated or damaged PLY: fewer than {count} rows of {element.name}")
            continue
        _check_lists(path, element)
        names = [prop.name for prop in element.properties]
        if not (count and names):
            yield element.name, {name: np.zeros(0, np.float32) for name in names}
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file that ends here
            rows = np.loadtxt(lines, np.float64, comments=None, ndmin=2)
        if rows.shape != (count, len(names)):
            raise InputError(
                f"{path}: truncated or damaged PLY: expected {count} rows of {len(names)} numbers, "
                f"found {len(rows)} of {rows.shape[1]}"
            )
        yield element.name, dict(zip(names, rows.T, strict=True))


def _binary_tables(
    path: Path, file: io.BufferedReader, header: _Header, wanted: Collection[str], size: int
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    contents = np.memmap(file, np.uint8, "r") if size else np.zeros(0, np.uint8)
    place, missing = header.size, set(wanted) & {element.name for element in header.elements}
    for element, count in zip(header.elements, header.counts, strict=True):
        if not missing:
            return
        if _has_lists(element):
            if element.name in wanted:
                _check_lists(path, element)
            place = _after_lists(path, contents, place, element, count, header.order)
            continue
        dtype = np.dtype([(prop.name, prop.dtype(header.order)) for prop in element.properties])
        end = place + count * dtype.itemsize
        if end > size:
            raise InputError(
                f"{path}: truncated or damaged PLY: {count} rows of {element.name} declared in {size} bytes"
            )
        if element.name in wanted:
            table = contents[place:end].view(dtype) if dtype.itemsize else np.zeros(count, dtype)
            yield element.name, {name: table[name] for name in dtype.names or ()}
            missing.discard(element.name)
        place = end


def _after_lists(path: Path, contents: np.ndarray, place: int, element: PlyElement, count: int, order: str) -> int:
    """Return where the rows of a table with lists, which begins at ``place``, end."""
    if count > MAX_LISTS:
        raise InputError(f"{path}: expected at most {MAX_LISTS} rows of {element.name} before its Gaussians")
    steps: list[tuple[struct.Struct | None, int]] = []  # how a list's length is stored, and the bytes of a value
    for prop in element.properties:
        if isinstance(prop, PlyListProperty):
            length, value = (np.dtype(kind) for kind in prop.list_dtype(order))
            steps.append((struct.Struct(order + length.char), value.itemsize))
        else:
            steps.append((None, np.dtype(prop.dtype()).itemsize))
    buffer, size = contents.data, len(contents)
    for _ in range(count):
        for length_type, bytes_each in steps:
            number = 1
            if length_type is not None:
                if place + length_type.size > size:
                    raise InputError(f"{path}: truncated or damaged PLY: fewer than {count} rows of {element.name}")
                number = math.trunc(length_type.unpack_from(buffer, place)[0])
                place += length_type.size
            place += number * bytes_each
            if number < 0 or place > size:
                raise InputError(f"{path}: truncated or damaged PLY: a list of {number} values in {element.name}")
    return place


def axis_comments(up: str | None) -> list[str]:
    """Return the comment lines that name an upward axis, none for None."""
    return [] if up is None else [f"Vertical Axis: {up}"]

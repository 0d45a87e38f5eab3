"""Record what outputs are made from, so that no stage takes those of other inputs or settings for its own.

A record is a small JSON file beside its outputs. It names everything that their content depends on, hashes of input
files and settings, and the outputs with their sizes. A stage compares the record before it skips what is there.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from gaussians import __version__
from gaussians.stage.atomic_files import remove
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_versioned_json, write_json

FORMAT_VERSION = 1


def _is_below(name: str) -> str:
    """Check that an output's name leads nowhere but below the record's folder, where outputs may be removed."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name:
        raise ValueError(f"expected a path below the record's folder, found {name!r}")
    return name


class Record(BaseModel):
    """A ``Record`` is the content of a record file.

    Attributes:
        format_version: version of the format.
        made_from: hashes of inputs and settings, by name, as plain JSON values.
        outputs: bytes of each output, by its path from the record's folder; of a folder the sum over its files.
        code_version: version of the program that made the outputs.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    format_version: int = FORMAT_VERSION
    made_from: dict[str, Any]
    outputs: dict[Annotated[str, AfterValidator(_is_below)], int]
    code_version: str = __version__


class Provenance:
    """A ``Provenance`` says what outputs are to be made from, and compares it with what those that are there were.

    Args:
        path: the record file, in the folder of the outputs or above it.
        made_from: what the outputs' content depends on: hashes of inputs and settings, as plain JSON values.
    """

    def __init__(self, path: Path, made_from: Mapping[str, Any]) -> None:
        self.path, self.made_from = path, dict(made_from)

    def is_current(self, outputs: Iterable[Path]) -> bool:
        """Return whether all of ``outputs`` are there, whole, and made from the same.

        Raises:
            InputError: some of them are there, but made from something else, or nothing says from what. The message
                names what differs.
        """
        outputs = list(outputs)
        record = self._read()
        if record is None:
            if stranger := next((path for path in outputs if path.exists()), None):
                raise InputError(f"{stranger}: nothing says what it was made from ({self.path.name}); {_REMEDY}")
            return False
        if different := self.different():
            raise InputError(f"{self.path}: made with other {', '.join(different)}; {_REMEDY}")
        return all(record.outputs.get(self._name(path)) == size_of(path) is not None for path in outputs)

    def different(self) -> list[str]:
        """Return the names of what the recorded outputs were made from otherwise; none if these are gone."""
        record = self._read()
        if record is None or not any((self.path.parent / name).exists() for name in record.outputs):
            return []
        return differences(record.made_from, self.made_from)

    def begin(self) -> None:
        """Prepare to make outputs: remove those that were made from something else, and record what is to come.

        After a kill the record tells the next run that outputs which are not in it yet may be replaced.

        Raises:
            InputError: a file cannot be written.
        """
        kept, stale = self._recorded()
        folder = self.path.parent.resolve()
        for name in stale:
            if (folder / name).parent.resolve().is_relative_to(folder):  # a link may lead elsewhere
                remove(folder / name)
        self._write(kept)

    def write(self, outputs: Iterable[Path]) -> None:
        """Record that ``outputs`` were made, beside those that were made from the same before.

        Raises:
            InputError: the file cannot be written.
        """
        kept, _ = self._recorded()
        self._write(kept | {self._name(path): size for path in outputs if (size := size_of(path)) is not None})

    def _recorded(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the recorded outputs that were made from the same, and those that were made from something else."""
        record = self._read()
        if record is None:
            return {}, {}
        return ({}, record.outputs) if differences(record.made_from, self.made_from) else (record.outputs, {})

    def _read(self) -> Record | None:
        try:
            return read_record(self.path)
        except InputError:  # damaged, as nothing that was written here ever is
            return None

    def _write(self, outputs: dict[str, int]) -> None:
        write_json(self.path, Record(made_from=self.made_from, outputs=dict(sorted(outputs.items()))).model_dump())

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path.parent).as_posix()


_REMEDY = "--overwrite makes it again"


def read_record(path: Path) -> Record | None:
    """Read a record, None where there is none.

    Raises:
        InputError: the file is damaged or of a later format version.
    """
    if not path.is_file():
        return None
    return read_versioned_json(path, FORMAT_VERSION, Record)


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs between two ``made_from``; of nested mappings ``name.key``."""
    names = []
    for name in {**wanted, **found}:
        one, other = found.get(name), wanted.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            names += [f"{name}.{key}" for key in differences(one, other)]
        elif one != other or (name in found) != (name in wanted):
            names.append(name)
    return names


def size_of(path: Path) -> int | None:
    """Return the bytes of a file or of all files in a folder, None where there is nothing or an empty file."""
    if path.is_file():
        return path.stat().st_size or None
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir() if file.is_file()) or None
    return None

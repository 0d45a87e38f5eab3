"""Collect what checks of a dataset's files find: what is wrong, what killed runs left, and what no page describes."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gaussians.stage.errors import InputError


@dataclass
class Findings:
    """A ``Findings`` holds what was found below one place of the dataset.

    Attributes:
        place: name of the place, such as ``3_0/0_ball_duck`` or ``objects/ball``.
        defects: what is wrong, one line each; a dataset without any is whole.
        leftovers: files of killed or earlier, longer runs, which no program reads and which may be deleted.
        unknown: files that the format does not name; no program of ours reads them.
    """

    place: str
    defects: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def order(self) -> list[tuple[int, str]]:
        """Return a key that sorts places by name, ``2_x`` before ``10_x``."""
        return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"[/_]", self.place)]

    def defect(self, path: Path, text: str) -> None:
        self.defects.append(f"{path}: {text}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Note what a reader refuses inside the block as a defect, and leave the rest of the block out."""
        try:
            yield
        except InputError as error:
            self.defects.append(str(error))

    def check_records(self, directory: Path, *names: str) -> None:
        """Check that each output which a record in ``directory`` names is there and as large as it was when made."""
        for path in (directory / name for name in names if (directory / name).is_file()):
            with self.reading():
                from gaussians.stage.provenance import read_record, size_of  # slow to import

                record = read_record(path)
                for name, size in record.outputs.items() if record else ():
                    found = size_of(directory / name)
                    if found != size:
                        self.defect(
                            directory / name, f"expected {size} bytes, as {path.name} records, found {found or 0}"
                        )

    def look_over(self, directory: Path, known: str) -> None:
        """Note the entries of ``directory`` whose names do not match the pattern ``known``."""
        for entry in sorted(directory.iterdir()):
            if entry.name.startswith("."):  # a temporary file or a lock
                self.leftovers.append(f"{entry}: of a run that was killed, or that still runs")
            elif not re.fullmatch(known, entry.name):
                self.unknown.append(str(entry))


@dataclass(frozen=True)
class Check:
    """A ``Check`` looks at one place; another process can run it."""

    place: str
    look: Callable[[Findings], None]

    def __call__(self) -> Findings:
        findings = Findings(self.place)
        self.look(findings)
        return findings

    def crashed(self) -> Findings:
        """Return what there is to say when the process that looked is dead."""
        return Findings(self.place, [f"{self.place}: a library crashed on damaged data, or memory ran out"])

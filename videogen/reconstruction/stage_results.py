"""Keep the result of each stage with a record of what it was made from, so that a rerun goes on where one ended."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gaussians import __version__
from gaussians.stage.atomic_files import atomic_path, file_hash
from gaussians.stage.errors import InputError
from gaussians.stage.provenance import Provenance

Tensors = dict[str, torch.Tensor]


class StageResults:
    """A ``StageResults`` keeps the results of the stages of one scene, as <folder>/<stage>.safetensors and .json.

    Args:
        folder: where they are.
        overwrite: whether results that were made from something else are made anew; otherwise they are refused.
    """

    def __init__(self, folder: Path, overwrite: bool) -> None:
        self._folder, self._overwrite = folder, overwrite
        self.seconds: dict[str, float] = {}

    def get(
        self, stage: str, made_from: Mapping[str, Any], make: Callable[[], tuple[Tensors, dict[str, Any]]]
    ) -> tuple[Tensors, dict[str, Any], str]:
        """Return a stage's tensors, its facts, which are JSON values, and the hash of both; make them if need be.

        Args:
            made_from: what they depend on, as JSON values.

        Raises:
            InputError: the results that are there were made from something else, and ``overwrite`` is off.
        """
        path = self._folder / f"{stage}.safetensors"
        provenance = Provenance(self._folder / f"{stage}.json", {**made_from, "code_version": __version__})
        with self.timed(stage):
            if self._is_current(provenance, path) and (found := _read(path)) is not None:
                return *found, file_hash(path)
            tensors, facts = make()
            provenance.begin()
            with atomic_path(path) as temporary:
                contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
                save_file(contiguous, temporary, {"facts": json.dumps(facts)})
            provenance.write([path])
        return tensors, facts, file_hash(path)

    def _is_current(self, provenance: Provenance, path: Path) -> bool:
        try:
            return provenance.is_current([path])
        except InputError:
            if self._overwrite:
                return False
            raise

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds that the block takes to those of a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _read(path: Path) -> tuple[Tensors, dict[str, Any]] | None:
    """Return the tensors and facts of a file, None if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "null"))
            return ({name: file.get_tensor(name) for name in file.keys()}, facts) if isinstance(facts, dict) else None  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None

"""Write the scenes that a reconstruction is for: objects, completed ones, and their background."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.layout import MADE_FROM
from dataset.scenes.scene_files import write_scene
from dataset.scenes.scene_objects import SceneObject
from gaussians.cameras import Cameras
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import remove
from gaussians.stage.provenance import Provenance
from videogen.reconstruction.completion.background import clean_background
from videogen.reconstruction.completion.generated_objects import GeneratedObject
from videogen.reconstruction.completion.object_completion import complete_objects
from videogen.reconstruction.stage_results import StageResults, Tensors


@dataclass(frozen=True)
class SceneOutputs:
    """A ``SceneOutputs`` writes sim/, bg/ and sim_refine/ of one reconstruction.

    Attributes:
        folder: where to.
        world: labelled Gaussians in the world.
        described: the objects, by label.
        cameras: all cameras, in the world.
        seen: those whose pictures the Gaussians were made from, on the Gaussians' device.
        rows: their numbers.
        digest: hash of what the Gaussians come from.
        stages: where results of stages are kept.
    """

    folder: Path
    world: Gaussians
    described: Sequence[SceneObject]
    cameras: Cameras
    seen: Cameras
    rows: Sequence[int]
    digest: str
    stages: StageResults

    @property
    def _made_from(self) -> dict[str, Any]:
        viewmats = self.cameras.viewmats.double().cpu().numpy().round(6)
        return {
            "gaussians": self.digest,
            "count": len(self.world),  # those that are left of them
            "cameras": viewmats.tolist(),
            "rows": list(self.rows),
        }

    def write_objects(self) -> None:
        """Write the objects as they were reconstructed to sim/; without any, remove what an earlier run wrote."""
        assert self.world.labels is not None
        if self.described:
            self._write("sim", self.world[self.world.labels >= 0], self.described)
        else:
            remove(self.folder / "sim")

    def write_background(self) -> dict[str, int]:
        """Write the cleaned background to bg/, and return how many Gaussians it has, and how many went and came."""

        def make() -> tuple[Tensors, dict[str, Any]]:
            background, counts = clean_background(self.world, self.seen)
            return _tensors(background), {**counts, "count": len(background)}

        tensors, counts, _ = self.stages.get("background", self._made_from, make)
        self._write("bg", Gaussians(**tensors), [])
        return counts

    def write_refined(
        self, refine: bool, made_by: dict[str, Any], generate: Callable[[], list[GeneratedObject]] | None
    ) -> tuple[list[dict[str, Any]] | None, list[str]]:
        """Write the completed objects to sim_refine/, and return what was added to each, and sentences on it.

        Args:
            refine: whether to; otherwise ones that are out of date are removed.
            made_by: what the completion depends on beside the Gaussians.
            generate: returns whole objects as a network sees them; None: they are completed by their silhouettes.
        """
        made_from = {**self._made_from, **made_by}
        if not refine or not self.described:
            if Provenance(self.folder / "sim_refine" / MADE_FROM, made_from).different():
                remove(self.folder / "sim_refine")
            return None, []

        def make() -> tuple[Tensors, dict[str, Any]]:
            generated = generate() if generate is not None else []
            whole = [entry.gaussians for entry in generated] if generated else None
            completed = complete_objects(self.world, self.seen, len(self.described), generated=whole)
            notes = [entry.note for entry in generated]
            return _tensors(completed.gaussians), {"objects": completed.described(), "notes": notes}

        tensors, facts, _ = self.stages.get("refined", made_from, make)
        found: list[dict[str, Any]] = facts["objects"]
        entries = [
            entry.model_copy(update={"count": row["count"]}) for entry, row in zip(self.described, found, strict=True)
        ]
        self._write("sim_refine", Gaussians(**tensors), entries, made_from)
        return found, facts["notes"]

    def _write(
        self,
        name: str,
        gaussians: Gaussians,
        objects: Sequence[SceneObject],
        made_from: dict[str, Any] | None = None,
    ) -> None:
        entries = [entry.model_dump(mode="json", exclude_none=True) for entry in objects]
        record = made_from if made_from is not None else self._made_from
        write_scene(self.folder / name, gaussians.to("cpu"), entries, self.cameras.to("cpu"), record)


def _tensors(gaussians: Gaussians) -> Tensors:
    scales, quaternions = gaussians.scales_and_quaternions()
    tensors = {name: getattr(gaussians, name) for name in ("means", "opacities", "sh", "labels")}
    return {**tensors, "scales": scales, "quaternions": quaternions}

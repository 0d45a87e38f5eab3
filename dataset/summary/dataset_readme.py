"""This module writes the README of a dataset: what it holds, how to use it, and how it was made."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dataset.layout import FOLDERS, STAGES
from dataset.summary.contents import SceneSummary, Statistics, split_of
from gaussians.files.trajectory_format import FORMAT_VERSION, PUBLISHED_FRAME_DT
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

MARK = "<!-- written by dataset.summarize -->"
"""The first line, by which a README that was written here is recognised."""

_CONTENTS = {
    "objects": "`<object>/point_cloud/iteration_30000/point_cloud.ply`: Gaussians of one object; `object.json`",
    "backgrounds": "`<background>/gaussians_*.ply`: Gaussians of a background; `placement.json` or `camera_2999.pt`",
    "scene_configs": "`<group>.json`: which objects stand where in each scene",
    "scenes": "`<group>/<scene>/point_cloud/iteration_30000/point_cloud.ply`: Gaussians of a scene; "
    "`segmentation.npy`, `objects.json`, `cameras.json`",
    "initial": "`<group>/<scene>/<background>/<scene>.mp4`: 100 views of the first frame; `cameras.json`, "
    "`prompts.json`, `depth.h5`",
    "mpm": "`<group>/<scene>/0000.h5`, ...: Gaussians in motion; `opacity.h5`, `shs.h5`, `labels.npy`, `meta.json`",
    "dynamic": "`<group>/<scene>/<background>/<view>/<scene>.mp4`: videos of the motion",
    "reconstruct": "`<group>/<scene>/<background>/{sim,sim_refine,bg}`: scenes reconstructed from `initial`",
}

_USAGE = """\
z is up; metres, seconds, kilograms, pascals. Frame k of a trajectory is the state at time k `frame_dt`, frame 0 the
initial state. A frame holds `pos` (N, 3), `cov3D` (N, 6: xx, xy, xz, yy, yz, zz), `rot` (N, 3, 3, the transpose of each
Gaussian's rotation since frame 0) and `vel` (N, 3), as far as they were saved:

```python
import h5py
import hdf5plugin  # reads compressed files

with h5py.File("mpm/<group>/<scene>/0010.h5") as frame:
    positions = frame["pos"][:]
```

With the project Neural Gaussian Force Fields, whose `docs/formats.md` describes every file:

```python
from gaussians import TrajectoryReader

trajectory = TrajectoryReader("mpm/<group>/<scene>")
gaussians = trajectory.gaussians(10)  # ready to draw, labels included
```

    python -m tools.check_dataset ROOT       # is every file whole?
    python -m dataset.summarize ROOT         # writes this page again
    python -m dataset.render --model_path ROOT/mpm/<group>/<scene> --config config/dynamic_config.json --output_path OUT
    accelerate launch -m dynamic_models.train --data_root ROOT --groups <group>
"""


def check_is_ours(path: Path) -> None:
    """Refuse to replace a README that was not written here.

    Raises:
        InputError: naming the flag that replaces it.
    """
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{path}: was not written by this command; --overwrite replaces it")


def write_readme(path: Path, statistics: Statistics, contact_sheet: str | None) -> None:
    """Write the README of a dataset, see ``readme``.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(readme(statistics, contact_sheet), encoding="utf-8")


def readme(statistics: Statistics, contact_sheet: str | None) -> str:
    """Return the README of a dataset as Markdown.

    Args:
        contact_sheet: name of the picture beside it, None if there is none.
    """
    scenes = statistics.scenes
    simulated = [scene for scene in scenes if scene.simulated]
    videos = sum(len(scene.videos) for scene in scenes)
    total = sum(statistics.sizes.values())
    parts = [
        f"{MARK}\n# {statistics.root.resolve().name}\n",
        f"{len(scenes):,} scenes of 3D Gaussian objects that fall and collide: {len(simulated):,} of them simulated, "
        f"{sum(scene.num_frames for scene in simulated):,} frames, {videos:,} videos, {_size(total)}.\n",
    ]
    if contact_sheet is not None:
        parts.append(f"![Scenes at their first and last frame.]({contact_sheet})\n\nFirst and last frame of scenes.\n")
    parts += [
        "## Structure\n\n" + _table(("folder", "files", "size", "what"), _folder_rows(statistics)),
        "Groups are named after their number of objects, scenes `<number>_<object>_<object>...`.\n",
        _table(("group", "scenes", *(STAGES[1:]), "frames", "Gaussians a scene"), _group_rows(statistics)),
        "## Usage\n\n" + _USAGE,
        "## Metadata\n\n" + _table(("setting", "value"), _setting_rows(simulated)),
        "### Objects\n\n" + _table(_OBJECT_COLUMNS, _object_rows(statistics)),
    ]
    if statistics.backgrounds:
        parts.append(f"### Backgrounds\n\n{', '.join(statistics.backgrounds)}\n")
    return "\n".join(parts)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _size(size: float) -> str:
    """Return a number of bytes in words, with three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _folder_rows(statistics: Statistics) -> list[tuple[str, ...]]:
    return [
        (f"`{folder}/`", f"{statistics.files[folder]:,}", _size(statistics.sizes[folder]), _CONTENTS[folder])
        for folder in FOLDERS
        if folder in statistics.files
    ]


def _group_rows(statistics: Statistics) -> list[tuple[str, ...]]:
    rows = []
    for group, scenes in statistics.groups.items():
        counts = {stage: sum(stage in scene.stages for scene in scenes) for stage in STAGES}
        counts["mpm"] = sum(scene.simulated for scene in scenes)
        counts["dynamic"] = sum(bool(scene.videos) for scene in scenes)
        frames = _range(scene.num_frames for scene in scenes if scene.simulated)
        gaussians = _range(sum(entry.count for entry in scene.meta.objects) for scene in scenes if scene.meta)
        rows.append((group, f"{len(scenes):,}", *(f"{counts[stage]:,}" for stage in STAGES[1:]), frames, gaussians))
    return rows


def _range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    if not found:
        return ""
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def _setting_rows(simulated: Sequence[SceneSummary]) -> list[tuple[str, str]]:
    metas = [scene.meta for scene in simulated if scene.meta]
    published = len(simulated) - len(metas)
    materials = {entry.material for meta in metas for entry in meta.objects}
    seconds = sum(meta.wall_time or 0 for meta in metas)
    frame_dts = [meta.frame_dt for meta in metas] + [PUBLISHED_FRAME_DT] * bool(published)
    rows = [
        ("format version", ", ".join([str(FORMAT_VERSION)] * bool(metas) + ["as published"] * bool(published))),
        ("frame_dt [s]", _values(frame_dts)),
        ("substep_dt [s]", _values(meta.substep_dt for meta in metas)),
        ("cell of the grid, dx [m]", _values(meta.dx for meta in metas)),
        ("gravity [m/s^2]", _values(meta.gravity for meta in metas)),
        ("materials", _values(materials)),
        ("type on disk", _values(meta.settings.get("dtype", "") for meta in metas)),
        ("compression", _values(meta.settings.get("compression", "none") for meta in metas)),
        ("fields of a frame", _values(", ".join(meta.settings.get("save_fields", ())) for meta in metas)),
        ("code version", _values(meta.code_version for meta in metas)),
        ("time the simulations took", f"{seconds:,.0f} s" if seconds else ""),
    ]
    return [(key, value) for key, value in rows if value]


def _values(values: Iterable[object]) -> str:
    """Return all different values, sorted, as one text."""
    found = sorted({value if isinstance(value, str) else _number(value) for value in values} - {""})
    return "; ".join(found)


def _number(value: object) -> str:
    return f"({', '.join(f'{v:g}' for v in value)})" if isinstance(value, tuple) else f"{value:.4g}"


_OBJECT_COLUMNS = ("object", "split", "scenes", "times", "Young's modulus [Pa]", "density [kg/m^3]", "prompt")


def _object_rows(statistics: Statistics) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, times in sorted(statistics.occurrences().items(), key=lambda item: (-item[1], item[0])):
        entry = statistics.catalogue.get(name)
        scenes = f"{statistics.scenes_with(name):,}"
        if entry is None:
            rows.append((name, "unknown", scenes, f"{times:,}", "", "", ""))
            continue
        known = (f"{entry.youngs_modulus:g}", f"{entry.density:g}", entry.prompt)
        rows.append((name, split_of(entry), scenes, f"{times:,}", *known))
    return rows

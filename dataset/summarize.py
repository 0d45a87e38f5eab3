"""See a dataset at a glance: counts, sizes, how often objects occur, and a contact sheet of random scenes.

Writes ROOT/README.md (structure, usage, metadata) and ROOT/contact_sheet.jpg: first and last frame of --num_scenes
scenes, from their videos or, where there are none, drawn from their trajectories. Both are always made anew.

Example:
  python -m dataset.summarize data/GSCollision --num_scenes 12
"""

from pathlib import Path

import torch
from PIL import Image

from dataset.summary.contact_sheet import choose, contact_sheet
from dataset.summary.dataset_readme import MARK, readme
from dataset.summary.statistics import Statistics, collect
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.command_line import ArgumentParser, resolve_device, run
from gaussians.stage.errors import InputError

_SHEET, _README = "contact_sheet.jpg", "README.md"
_LARGEST_SHEET = 65_500  # pixels, a JPEG's


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument("root", type=Path, help="root of the dataset")
    parser.add_argument("--num_scenes", type=int, default=12, help="scenes on the contact sheet; 0: no sheet")
    parser.add_argument("--resolution", type=int, default=224, help="side of each of its frames, pixels")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same scenes")
    parser.add_device()
    parser.add_argument("--overwrite", action="store_true", help="replace a README.md that was not written here")
    return parser


def write_sheet(statistics: Statistics, number: int, seed: int, side: int, device: torch.device) -> int:
    """Write the contact sheet, or remove an earlier one where there is nothing to show; the number of its scenes.

    Raises:
        InputError: a video or trajectory is damaged, or the file cannot be written.
    """
    path = statistics.root / _SHEET
    chosen = choose(statistics.scenes, number, seed)
    if not chosen:
        path.unlink(missing_ok=True)
        return 0
    sheet = Image.fromarray(contact_sheet(chosen, statistics.root, side, device))
    if max(sheet.size) > _LARGEST_SHEET:
        raise InputError(f"--num_scenes {number}: too many for one picture at --resolution {side}")
    with atomic_path(path) as temporary:
        sheet.save(temporary, quality=90)
    return len(chosen)


def main() -> None:
    args = _parser().parse_args()
    if args.num_scenes < 0:
        raise InputError(f"--num_scenes: expected 0 or more, found {args.num_scenes}")
    if not 16 <= args.resolution <= 2048:
        raise InputError(f"--resolution: expected 16 to 2048 pixels, found {args.resolution}")
    if not args.root.is_dir():
        raise InputError(f"{args.root}: no such directory: expected the root of a dataset")
    page = args.root / _README
    if page.is_file() and not args.overwrite and MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{page}: was not written by this command; --overwrite replaces it")
    device = resolve_device(args.device)
    statistics = collect(args.root)
    shown = write_sheet(statistics, args.num_scenes, args.seed, args.resolution, device)
    with atomic_path(page) as temporary:
        temporary.write_text(readme(statistics, _SHEET if shown else None), encoding="utf-8")
    simulated, videos = (sum(scene.simulated for scene in statistics.scenes), _count_videos(statistics))
    sheet = f" and {args.root / _SHEET} with {shown} of them" if shown else ""
    print(f"{len(statistics.scenes)} scenes, {simulated} simulated, {videos} videos: wrote {page}{sheet}")


def _count_videos(statistics: Statistics) -> int:
    return sum(len(scene.videos) for scene in statistics.scenes)


if __name__ == "__main__":
    with torch.inference_mode():
        run(main)

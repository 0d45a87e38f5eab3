"""Summarize a dataset: count its files, scenes and objects, and draw a contact sheet of random scenes.

Writes ROOT/README.md (structure, usage, metadata) and ROOT/contact_sheet.jpg: first and last frame of --num_scenes
scenes, from their videos or, where there are none, drawn from their trajectories. Both are always made anew.

Example:
  python -m dataset.summarize data/GSCollision --num_scenes 12
"""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from dataset.layout import FOLDERS
from gaussians.stage.command_line import ArgumentParser, resolve_device, run
from gaussians.stage.errors import InputError

_SHEET, _README = "contact_sheet.jpg", "README.md"


@dataclass(frozen=True)
class SummarySettings:
    """Holds the settings of ``dataset.summarize``.

    Attributes:
        root: root directory of the dataset.
        num_scenes: greatest number of scenes on the contact sheet; 0 for no sheet.
        resolution: width and height of each frame on the sheet, pixels.
        seed: seed of the random choice of scenes.
        device: where to draw: ``auto``, ``cpu`` or ``cuda``.
        overwrite: whether to replace a README.md that this command did not write.
    """

    root: Path
    num_scenes: int
    resolution: int
    seed: int
    device: str
    overwrite: bool


def _parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument("root", type=Path, help="root of the dataset")
    parser.add_argument("--num_scenes", type=int, default=12, help="number of scenes on the contact sheet; 0: no sheet")
    parser.add_argument(
        "--resolution", type=int, default=224, help="width and height of each frame on the sheet, pixels"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same scenes")
    parser.add_device()
    parser.add_argument("--overwrite", action="store_true", help="replace a README.md that is not this command's")
    return parser


def _settings(args: Namespace) -> SummarySettings:
    if args.num_scenes < 0:
        raise InputError(f"--num_scenes: expected 0 or more, found {args.num_scenes}")
    if not 16 <= args.resolution <= 2048:
        raise InputError(f"--resolution: expected 16 to 2048 pixels, found {args.resolution}")
    if not args.root.is_dir():
        raise InputError(f"{args.root}: no such directory: expected the root of a dataset")
    if not any((args.root / folder).is_dir() for folder in FOLDERS):
        raise InputError(f"{args.root}: no dataset: expected some of {', '.join(FOLDERS)}")
    return SummarySettings(args.root, args.num_scenes, args.resolution, args.seed, args.device, args.overwrite)


def main() -> None:
    settings = _settings(_parser().parse_args())

    from dataset.summary.contact_sheet import write_contact_sheet
    from dataset.summary.contents import collect
    from dataset.summary.dataset_readme import check_is_ours, write_readme

    page, picture = settings.root / _README, settings.root / _SHEET
    if not settings.overwrite:
        check_is_ours(page)
    device = resolve_device(settings.device)
    statistics = collect(settings.root)
    shown = write_contact_sheet(picture, statistics, settings.num_scenes, settings.seed, settings.resolution, device)
    write_readme(page, statistics, picture.name if shown else None)
    simulated = sum(scene.simulated for scene in statistics.scenes)
    videos = sum(len(scene.videos) for scene in statistics.scenes)
    sheet = f" and {picture} with {shown} of them" if shown else ""
    print(f"{len(statistics.scenes)} scenes, {simulated} simulated, {videos} videos: wrote {page}{sheet}")


if __name__ == "__main__":
    run(main)

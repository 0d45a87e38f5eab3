"""Define the settings of reconstruction, and the flags that the commands that reconstruct share."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gaussians.stage.command_line import ArgumentParser
from gaussians.stage.errors import InputError

if TYPE_CHECKING:
    from gaussians.files.prompts import Prompts

Backend = Literal["auto", "optimize", "pi3_splat"]
BACKENDS: tuple[Backend, ...] = ("auto", "optimize", "pi3_splat")
SdVersion = Literal["sd15", "sd35m"]
HOLD_OUT = 5
"""Of the pictures of a dataset's video, every fifth is held out, as in the published evaluation."""


@dataclass(frozen=True)
class ReconstructionSettings:
    """A ``ReconstructionSettings`` holds the settings of a reconstruction.

    Attributes:
        interval: take every n-th picture; None: 4 of a video, 1 of photographs.
        views: take this many pictures, evenly spaced, whatever ``interval`` is; None: as ``interval`` says.
        max_side: the larger of width and height that pictures are scaled down to, pixels; None: by the device.
        held_out: leave out every n-th picture, to compare with at the end; 0: none; None: 5, or none of photographs.
        prompt_kind: whether boxes or points of prompts.json count, where there are both.
        boxes: the objects' boxes in the first picture, in the place of prompts.json.
        backend: what tells the depth that Gaussians start at, and cameras where there are none beside the pictures.
        segmenter: who tells the objects apart.
        weights: directory below which the weights of perception models are (``externals.weights``).
        real_world: the pictures are photographs: cameras are not the dataset's, and objects are put onto the floor.
        scale: metres in a unit of the cameras' frame; None: so that the objects fit the box.
        refine: complete what no picture shows of the objects.
        completion: how: "hull", by their silhouettes, "diffsplat", by a network, or "auto".
        sd_version: which Stable Diffusion DiffSplat is built on.
        super_resolution: how small pictures of objects are enlarged for DiffSplat.
        visualize: write pictures of masks, cameras and renderings, too.
        iterations: of the optimisation; None: by the device.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of everything random.
        overwrite: make anew what was made from other pictures or with other settings.
    """

    interval: int | None = None
    views: int | None = None
    max_side: int | None = None
    held_out: int | None = None
    prompt_kind: Literal["bbox", "point"] = "bbox"
    boxes: "Prompts | None" = None
    backend: Backend = "auto"
    segmenter: str = "auto"
    weights: Path = Path()
    real_world: bool = False
    scale: float | None = None
    refine: bool = False
    completion: str = "auto"
    sd_version: SdVersion = "sd15"
    super_resolution: str = "auto"
    visualize: bool = False
    iterations: int | None = None
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class SceneInput:
    """A ``SceneInput`` names one scene to reconstruct.

    Attributes:
        data_path: its video, or folder of pictures.
        save_folder: directory for what is made of it.
    """

    data_path: Path
    save_folder: Path


def add_reconstruction_arguments(parser: ArgumentParser) -> None:
    """Add the flags that say how scenes are reconstructed, whichever scenes they are."""
    parser.add_argument(
        "--interval", type=int, help="take every n-th picture (default: 4 of a video, 1 of photographs)"
    )
    parser.add_argument(
        "--max_side",
        type=int,
        help="pixels that pictures are scaled down to (default: 448 on a GPU, 128 on a CPU)",
    )
    parser.add_argument(
        "--held_out",
        type=int,
        help="leave out every n-th picture, to compare with at the end; 0: none (default: 5, of photographs none)",
    )
    parser.add_argument(
        "--prompt_type", choices=("bbox", "point"), default="bbox", help="which of prompts.json counts if it has both"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what tells depth, and cameras where there are none: a plane sweep and COLMAP (optimize), or the network "
        "Pi3_splat; Gaussians are optimised from there; auto: Pi3_splat on a GPU if its weights are there",
    )
    parser.add_argument(
        "--segmenter",
        choices=("auto", "grabcut", "sam2", "masks"),
        default="auto",
        help="who tells objects apart; auto: masks/, else SAM 2.1 if its weights are there, else grabcut",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=Path(),
        help="directory that the weights of perception models were downloaded to",
    )
    parser.add_argument(
        "--real_world", action="store_true", help="photographs, not a dataset's video: objects are put onto the floor"
    )
    parser.add_argument(
        "--scale",
        type=float,
        help="metres in a unit of cameras that are not in metres (default: so that the objects fit the box)",
    )
    parser.add_argument(
        "--completion",
        choices=("auto", "hull", "diffsplat"),
        default="auto",
        help="how --refine completes objects: from silhouettes and symmetry, or with the network DiffSplat; auto: "
        "DiffSplat on a GPU if its weights are there",
    )
    parser.add_argument(
        "--sd_version",
        choices=("sd15", "sd35m"),
        default="sd15",
        help="DiffSplat on Stable Diffusion 1.5 or 3.5 medium (default: sd15)",
    )
    parser.add_argument(
        "--super_resolution",
        choices=("auto", "osediff", "osediff_tags", "realesrgan", "lanczos", "off"),
        default="auto",
        help="how DiffSplat's pictures of small objects are enlarged; osediff_tags: OSEDiff, told by RAM and DAPE what "
        "they show; auto: Real-ESRGAN if it is there, else Lanczos",
    )
    parser.add_argument("--visualize", action="store_true", help="write pictures of masks, cameras and renderings, too")
    parser.add_argument("--iterations", type=int, help="of the optimisation (default: 3000, 1000 after Pi3_splat)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")


def reconstruction_settings(args: Namespace, refine: bool, overwrite: bool) -> ReconstructionSettings:
    """Return the settings that the flags of ``add_reconstruction_arguments`` and ``--device`` ask for.

    Args:
        refine, overwrite: see ``ReconstructionSettings``.

    Raises:
        InputError: a value is impossible.
    """
    for name, least in (("interval", 1), ("max_side", 32), ("held_out", 0), ("iterations", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name}: expected at least {least}, found {value}")
    if args.held_out == 1:
        raise InputError("--held_out: 1 leaves no picture: expected 0, or 2 and more")
    if args.scale is not None and not 1e-6 <= args.scale <= 1e6:
        raise InputError(f"--scale: expected 1e-6 to 1e6, found {args.scale:g}")
    return ReconstructionSettings(
        interval=args.interval,
        views=None,
        max_side=args.max_side,
        held_out=args.held_out,
        prompt_kind=args.prompt_type,
        boxes=None,
        backend=args.backend,
        segmenter=args.segmenter,
        weights=args.weights,
        real_world=args.real_world,
        scale=args.scale,
        refine=refine,
        completion=args.completion,
        sd_version=args.sd_version,
        super_resolution=args.super_resolution,
        visualize=args.visualize,
        iterations=args.iterations,
        device=args.device,
        seed=args.seed,
        overwrite=overwrite,
    )

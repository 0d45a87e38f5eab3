"""Look at Gaussians in a web browser: files, scenes, reconstructions, and trajectories that play.

Several paths play in step, over each other, side by side or with a wipe between them: a simulation and its prediction,
say. The panel plays, hides, recolours, cuts, crops, deletes and moves objects; shows keypoints, velocities, forces of
contact and cameras; measures; and saves screenshots, videos along a path of the camera, PLY files and edited scenes.
Frames are read from disk as they are shown. docs/viewer.md shows all of it.

A path is a file of Gaussians, or the directory of a trajectory, a scene, a reconstruction or of what
`videogen.eval --save_trajectory` has predicted. A file of Gaussians is a PLY of 3D Gaussian Splatting or another
program, also a compressed one, a .splat, a .spz, or a .pt file of a dictionary of tensors (means, scales as logarithms,
rotations, opacities as logits, harmonics, and labels if there are any).

--serve_html FILE writes one page that plays the clip without a server, for a web page, and ends.

Only this machine can connect, unless --host names an address that others reach. From another machine, either leave
that as it is and run `ssh -L 8088:localhost:8088 USER@SERVER` there, or, where the program runs on a node behind the
server, give it `--host 0.0.0.0` and run `ssh -L 8088:NODE:8088 USER@SERVER`; then open http://localhost:8088.

Examples:
  python -m tools.gaussian_viser --ply_path data/GSCollision/mpm/2/0_ball_duck --port 8088
  python -m tools.gaussian_viser --ply_path data/GSCollision/mpm/2/0_ball_duck output/trajectory/0_ball_duck
  python -m tools.gaussian_viser --ply_path data/GSCollision/mpm/2/0_ball_duck --serve_html clip.html
  python -m tools.gaussian_viser --ply_path debug/edited_gaussians.pt --port 8088
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.layout import Layout, add_data_root
from gaussians.files.storage_options import UP_AXES
from gaussians.stage.command_line import ArgumentParser, run

if TYPE_CHECKING:
    from tools.viewer.scene.splat_source import SplatSource


@dataclass(frozen=True)
class ViewerSettings:
    """A ``ViewerSettings`` says what to show, and on which address.

    Attributes:
        paths: files of Gaussians, or directories of trajectories, scenes or reconstructions.
        up: the axis that points upwards; None: what the file says, for a capture else -y.
        background_path: a background's directory or PLY file; None for none.
        port: port to serve on; 0 for any free one.
        host: address to serve on.
        page: file to write a page to that needs no server, instead of serving; None for none.
        save_folder: where what a person saves goes.
        layout: layout of the dataset, whose catalogue names objects.
    """

    paths: tuple[Path, ...]
    up: str | None
    background_path: Path | None
    port: int
    host: str
    page: Path | None
    save_folder: Path
    layout: Layout


def parse_settings() -> ViewerSettings:
    """Parse the command line."""
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        "--ply_path",
        type=Path,
        nargs="+",
        required=True,
        help="files of Gaussians, or directories of trajectories, scenes or reconstructions, shown in step",
    )
    parser.add_argument(
        "--up", choices=UP_AXES, help="upward axis, as in --up=-y (default: what the file says; else -y for captures)"
    )
    parser.add_argument(
        "--background_path", type=Path, help="a background's directory or PLY file, placed as rendering places it"
    )
    parser.add_argument("--port", type=_port, default=8088, help="port to serve on; 0: any free one")
    parser.add_argument("--host", default="localhost", help="address to serve on; 0.0.0.0: let other machines connect")
    parser.add_argument(
        "--serve_html", type=_page, metavar="FILE", help="write a page of at most 30 MB that plays the clip, and end"
    )
    parser.add_argument(
        "--save_path", type=Path, default=Path("output/viewer"), help="where the panel saves (default: output/viewer)"
    )
    add_data_root(parser)
    arguments = parser.parse_args()
    return ViewerSettings(
        paths=tuple(arguments.ply_path),
        up=arguments.up,
        background_path=arguments.background_path,
        port=arguments.port,
        host=arguments.host,
        page=arguments.serve_html,
        save_folder=arguments.save_path,
        layout=Layout(arguments.data_root),
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, found {text!r}")
    return int(text)


def _page(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".html", ".htm"):
        raise argparse.ArgumentTypeError(f"expected a name that ends in .html, found {text!r}")
    return path


def main() -> None:
    settings = parse_settings()

    from tools.viewer.scene.splat_source import open_background, open_sources, reconstructed_background

    if settings.page is None:
        from tools.viewer.serving.panel_server import check_port

        check_port(settings.host, settings.port)
    sources = open_sources(settings.paths, settings.layout, settings.up)
    behind = settings.background_path or next(filter(None, map(reconstructed_background, settings.paths)), None)
    background = open_background(behind) if behind else None
    for source in sources:
        if source.note:
            print(f"note: {source.note}", file=sys.stderr)
    if settings.page is not None:
        _write_page(sources, background, settings.page)
    else:
        _serve(sources, background, settings)


def _write_page(sources: "Sequence[SplatSource]", background: "SplatSource | None", path: Path) -> None:
    from tqdm import tqdm

    from tools.viewer.saving.html_page import write_page
    from tools.viewer.scene.layers import Stage

    with tqdm(total=1.0, desc="record", bar_format="{desc}: {percentage:3.0f}%|{bar}|", leave=False) as bar:

        def progress(share: float) -> None:
            bar.n = share
            bar.refresh()

        outcome = write_page(Stage(sources, background), path, progress=progress)
    print(outcome)


def _serve(sources: "Sequence[SplatSource]", background: "SplatSource | None", settings: ViewerSettings) -> None:
    from tools.viewer.serving.panel_server import run_until_interrupted
    from tools.viewer.splat_viewer import SplatViewer

    viewer = SplatViewer(sources, background, settings.host, settings.port, settings.save_folder)
    count, frames = sum(map(len, sources)), viewer.stage.duration[0]
    shown = f"{count:,} Gaussians" + (f", {frames} frames" if frames > 1 else "")
    run_until_interrupted(viewer, settings.host, f"{', '.join(map(str, settings.paths))}: {shown}")


if __name__ == "__main__":
    run(main)

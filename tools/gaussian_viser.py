"""Look at Gaussians in a web browser: a file, a scene, or a trajectory that plays.

The panel plays and pauses, moves through time, hides objects, the background or faint Gaussians, and shows the box
that the simulation took place in. Frames are read from disk as they are shown. Colours are those of degree 0, without
what depends on the viewing direction.

A file of Gaussians is a PLY of 3D Gaussian Splatting or another program, also a compressed one, a .splat, a .spz, or a
.pt file of a dictionary of tensors (means, scales as logarithms, rotations, opacities as logits, harmonics, and labels
if there are any).

Only this machine can connect, unless --host names an address that others reach. From another machine, either leave
that as it is and run `ssh -L 8088:localhost:8088 USER@SERVER` there, or, where the program runs on a node behind the
server, give it `--host 0.0.0.0` and run `ssh -L 8088:NODE:8088 USER@SERVER`; then open http://localhost:8088.

Examples:
  python -m tools.gaussian_viser --ply_path data/GSCollision/mpm/2/0_ball_duck --port 8088
  python -m tools.gaussian_viser --ply_path debug/edited_gaussians.pt --port 8088
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from dataset.layout import Layout, add_data_root
from gaussians.files.storage_options import UP_AXES
from gaussians.stage.command_line import ArgumentParser, run


@dataclass(frozen=True)
class ViewerSettings:
    """A ``ViewerSettings`` says what to show, and on which address.

    Attributes:
        path: a file of Gaussians, or the directory of a trajectory or scene.
        up: the axis that points upwards; None: what the file says, for a capture else -y.
        background_path: a background's directory or PLY file; None for none.
        port: port to serve on; 0 for any free one.
        host: address to serve on.
        layout: layout of the dataset, whose catalogue names objects.
    """

    path: Path
    up: str | None
    background_path: Path | None
    port: int
    host: str
    layout: Layout


def parse_settings() -> ViewerSettings:
    """Parse the command line."""
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        "--ply_path", type=Path, required=True, help="a file of Gaussians, or the directory of a trajectory or scene"
    )
    parser.add_argument(
        "--up", choices=UP_AXES, help="upward axis, as in --up=-y (default: what the file says; else -y for captures)"
    )
    parser.add_argument(
        "--background_path", type=Path, help="a background's directory or PLY file, placed as rendering places it"
    )
    parser.add_argument("--port", type=_port, default=8088, help="port to serve on; 0: any free one")
    parser.add_argument("--host", default="localhost", help="address to serve on; 0.0.0.0: let other machines connect")
    add_data_root(parser)
    arguments = parser.parse_args()
    return ViewerSettings(
        path=arguments.ply_path,
        up=arguments.up,
        background_path=arguments.background_path,
        port=arguments.port,
        host=arguments.host,
        layout=Layout(arguments.data_root),
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, found {text!r}")
    return int(text)


def main() -> None:
    settings = parse_settings()

    from tools.viewer.splat_source import open_background, open_source
    from tools.viewer.splat_viewer import SplatViewer, check_port

    check_port(settings.host, settings.port)
    source = open_source(settings.path, settings.layout, settings.up)
    background = open_background(settings.background_path) if settings.background_path else None
    if source.note:
        print(f"note: {source.note}", file=sys.stderr)
    viewer = SplatViewer(source, background, settings.host, settings.port)
    shown = f"{len(source):,} Gaussians" + (f", {source.frame_count} frames" if source.frame_count > 1 else "")
    address = "localhost" if settings.host == "0.0.0.0" else settings.host
    print(f"{settings.path}: {shown}; open http://{address}:{viewer.port} in a browser; Ctrl-C ends", flush=True)
    try:
        viewer.run()
    except KeyboardInterrupt:
        pass  # this is how a person ends it
    finally:
        viewer.stop()


if __name__ == "__main__":
    run(main)

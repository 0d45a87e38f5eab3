"""This module holds what commands ask about a capture, Gaussians of another program: which way is up, and how large."""

import math
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from gaussians.files.storage_options import UP_AXES
from gaussians.stage.command_line import ArgumentParser
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class CaptureSettings:
    """Says how a capture is placed in the world.

    Attributes:
        up: the file's axis that points upwards, one of ``UP_AXES``; None: what the file says, else -y.
        scale: factor from the file's units to metres; None: 1 where the capture then fits the box of the objects, else
            so that its largest extent is 1 m.
    """

    up: str | None = None
    scale: float | None = None

    def record(self) -> dict[str, Any]:
        """Return the settings as plain values, as records of what was made from a capture hold them."""
        return {"up": self.up, "scale": self.scale}


def add_capture_arguments(parser: ArgumentParser) -> None:
    """Add the flags of ``CaptureSettings``, for commands whose ``--model_path`` may be a file of another program."""
    parser.add_argument(
        "--up",
        choices=UP_AXES,
        help="upward axis of a capture, as in --up=-y (default: what its file says, else -y)",
    )
    parser.add_argument(
        "--scale",
        type=float,
        help="factor from a capture's units to metres (default: 1 if it then fits the box, else to 1 m)",
    )


def capture_settings(args: Namespace) -> CaptureSettings:
    """Return the settings that the flags of ``add_capture_arguments`` ask for.

    Raises:
        InputError: the scale is not a positive number.
    """
    if args.scale is not None and not 0 < args.scale < math.inf:
        raise InputError(f"--scale: expected a positive number, found {args.scale}")
    if args.scale is not None and not 1e-6 <= args.scale <= 1e6:
        raise InputError(f"--scale: expected 1e-06 to 1e+06, found {args.scale}")
    return CaptureSettings(args.up, args.scale)

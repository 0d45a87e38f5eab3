"""Simulate what was predicted: the same start, the same pushes, in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from gaussians.stage.errors import InputError
from tools.live.live_world import LiveWorld

_PATIENCE = 10.0  # seconds for a simulation to drop what it is writing
_PAUSE = 0.05  # seconds from look to look at how far it is


@dataclass(frozen=True)
class Simulator:
    """A ``Simulator`` says how ``dataset.gs_simulation_scene`` is called.

    Attributes:
        config: JSON file of settings.
        data_root: root of the dataset, which describes objects that people added.
        device: where to compute: ``auto``, ``cpu`` or ``cuda``.
    """

    config: Path
    data_root: Path
    device: str

    def run(self, world: LiveWorld, folder: Path) -> Generator[float, None, Path]:
        """Simulate a world from its start, as far and under the same pushes as it has been predicted.

        Args:
            world: what is simulated.
            folder: where its files go.

        Yields:
            Which share of the frames is written. Where the generator is closed the simulation ends.

        Returns:
            The trajectory's directory.

        Raises:
            InputError: the world has not moved yet, was changed in mid-motion, or cannot be simulated.
        """
        if world.motion.frame < 1:
            raise InputError("nothing has been predicted yet that could be simulated: let it run first")
        saved, output = world.save(folder), folder / "simulation"
        command = [
            *(sys.executable, "-m", "dataset.gs_simulation_scene", *saved.flags),
            *("--config", str(self.config), "--output_path", str(output), "--frame_num", str(saved.frames)),
            *("--data_root", str(self.data_root), "--device", self.device),
            # The config's substep may be too long for objects that it did not know.
            *(("--substep_dt", "auto") if world.edited else ()),
        ]
        with (
            (folder / "simulation.log").open("w+") as log,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            try:
                while process.poll() is None:
                    yield min(1.0, len(list(output.glob("[0-9]*.h5"))) / saved.frames)
                    time.sleep(_PAUSE)
            finally:
                _end(process)
            if process.returncode != 0:
                log.seek(0)
                said = [line for line in log.read().splitlines() if line.strip()]
                last = said[-1].removeprefix("error: ") if said else f"it ended with status {process.returncode}"
                raise InputError(f"the simulation failed: {last}")
        return output


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()

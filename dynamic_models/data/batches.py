"""Training windows: an endless stream of shuffled epochs. The next batch is drawn while the last one is used."""

import argparse
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from dynamic_models.data.windows import SimulatedScene, Window, add_noise, collate_windows, turn_about_vertical

Batch = tuple[list[str], Window]


def draw(
    scenes: Sequence[SimulatedScene],
    numbers: range,
    frames: int,
    args: argparse.Namespace,
    sizes: tuple[int, int] = (0, 0),
) -> Batch:
    """Samples ``numbers`` of the endless stream of shuffled epochs, as one batch of at least ``sizes`` objects and
    points, and the names of their scenes.

    A sample depends on --seed and its number alone, so that neither an interruption nor the number of processes changes
    what is learned.
    """
    names, windows = [], []
    for number in numbers:
        epoch, place = divmod(number, len(scenes))
        shuffle = torch.Generator().manual_seed(hash((args.seed, 0, epoch)) % 2**63)
        scene = scenes[int(torch.randperm(len(scenes), generator=shuffle)[place])]
        chance = torch.Generator().manual_seed(hash((args.seed, 1, number)) % 2**63)
        start = int(torch.randint(args.steps - frames + 1, (), generator=chance))
        window = scene.window(start, frames)
        if args.noise:
            window = add_noise(window, args.noise, chance)
        windows.append(turn_about_vertical(window, chance) if args.augment else window)
        names.append(scene.name)
    return names, collate_windows(windows, *sizes)


class Samples:
    """Draws batches of --batch_size, each one ahead of its use, in a thread.

    Args:
        args, sizes: as ``draw`` takes them.
    """

    def __init__(self, scenes: Sequence[SimulatedScene], args: argparse.Namespace, sizes: tuple[int, int]) -> None:
        self._scenes, self._args, self._sizes = scenes, args, sizes
        self._thread = ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int], Future[Batch]] = {}

    def take(self, first: int, frames: int, following: int) -> Batch:
        """Samples from number ``first`` on, in windows of ``frames``; then draws those from ``following`` on."""
        drawn = self._ahead.pop((first, frames), None) or self._submit(first, frames)
        self._ahead = {(following, frames): self._submit(following, frames)}
        return drawn.result()

    def _submit(self, first: int, frames: int) -> Future[Batch]:
        numbers = range(first, first + self._args.batch_size)
        return self._thread.submit(draw, self._scenes, numbers, frames, self._args, self._sizes)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

"""This module writes pictures of many views to files while the next ones are drawn."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from dataset.rendering.picture_stack import picture_stack, write_png
from gaussians.files.video import VideoWriter, to_uint8, to_yuv420p
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.threads import core_count

_SLOTS = 3
"""Number of frames that may be on their way to files at once, which bounds the memory that they take."""


@dataclass(frozen=True)
class Outputs:
    """Says which files to write of each view: its video, and beside it ``rgb/``, ``masks.h5`` and ``masks/``.

    Attributes:
        video: whether to write the video.
        images: whether to write every frame as a PNG, ``rgb/0000.png`` and so on.
        masks: whether to write every frame's instance mask, in ``masks.h5`` and as ``masks/0000.png`` and so on.
    """

    video: bool = True
    images: bool = False
    masks: bool = False

    def pictures(self, path: Path) -> list[Path]:
        """Return the paths of the video and of the folder of images, as far as they are written, of a view.

        Args:
            path: the path of the view's video.
        """
        return [path] * self.video + [path.parent / "rgb"] * self.images

    def mask_files(self, path: Path) -> list[Path]:
        """Return the paths of a view's masks, if they are written."""
        return [path.parent / "masks.h5", path.parent / "masks"] * self.masks


@dataclass
class _Slot:
    """Holds one frame on its way to files.

    Attributes:
        on_host: the frame's pictures of all views, by kind; on CUDA in pinned memory.
        copied: the event after which ``on_host`` holds them; None on the CPU.
        readers: the tasks that still read them.
    """

    on_host: dict[str, torch.Tensor] = field(default_factory=dict)
    copied: torch.cuda.Event | None = None
    readers: list[Future[None]] = field(default_factory=list)

    def picture(self, kind: str, view: int) -> np.ndarray:
        """Wait for one picture and return it."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.on_host[kind][view].numpy()


class ClipWriter:
    """Writes the frames of V views as they come; the files appear when the ``with`` block ends well.

    Each view's encoder has a thread that feeds it; PNGs and masks share one for each core. On CUDA colours are
    converted on the device, and neither drawing nor encoding waits for the copies to the host.

    Args:
        paths: the paths of the V videos.
        num_frames: number of frames that will come.
        fps: frames per second of the videos.
        outputs: which files to write.
        device: where the pictures are drawn.
        encoder_threads: number of threads of each video's encoder.

    Raises:
        InputError: a file cannot be written.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        num_frames: int,
        fps: float,
        outputs: Outputs,
        device: torch.device,
        encoder_threads: int,
    ) -> None:
        self._paths, self._num_frames, self._outputs, self._device = paths, num_frames, outputs, device
        self._videos = [VideoWriter(path, fps, threads=encoder_threads) for path in paths] if outputs.video else []
        self._folders: list[Path] = []
        self._masks: list[Callable[[int, np.ndarray], None]] = []
        self._slots = [_Slot() for _ in range(_SLOTS)]
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._written = 0
        self._stack = ExitStack()

    def __enter__(self) -> "ClipWriter":
        with ExitStack() as stack:
            for video in self._videos:
                stack.enter_context(video)
            if self._outputs.images:
                self._folders = [stack.enter_context(atomic_path(path.parent / "rgb")) for path in self._paths]
                for folder in self._folders:
                    folder.mkdir()
            if self._outputs.masks:
                names = [f"{k:04d}.png" for k in range(self._num_frames)]
                for path in self._paths:
                    files = path.parent / "masks.h5", "mask", path.parent / "masks", names
                    self._masks.append(stack.enter_context(picture_stack(*files)))
            # These are left first, so that nothing is written any more when the files are finished or removed.
            self._feeders = [_executor(stack, 1) for _ in self._videos]
            self._pool = _executor(stack, core_count())
            self._stack = stack.pop_all()
        return self

    def write(self, rgb: torch.Tensor, masks: torch.Tensor | None = None) -> None:
        """Take the next frame.

        Args:
            rgb: (V, H, W, 3), 0 to 1, on the device; not to be changed afterwards.
            masks: (V, H, W) uint8, if masks are written.

        Raises:
            InputError: a file of an earlier frame could not be written.
        """
        pictures = {}
        if self._videos:
            # On the CPU the encoder converts colours faster than PyTorch does.
            pictures["video"] = to_yuv420p(rgb) if self._stream else to_uint8(rgb)
        if self._folders:
            pictures["images"] = pictures["video"] if self._videos and not self._stream else to_uint8(rgb)
        if self._masks:
            assert masks is not None
            pictures["masks"] = masks
        self.send(pictures)

    def send(self, pictures: dict[str, torch.Tensor]) -> None:
        """Take the next frame as it is to be written.

        Args:
            pictures: uint8 of V views on the device, not to be changed afterwards: "video", RGB or planes as
                ``VideoWriter.write`` takes them, "images", RGB, and "masks", those of them that are written.

        Raises:
            InputError: a file of an earlier frame could not be written.
        """
        k, slot = self._written, self._slots[self._written % _SLOTS]
        self._wait_for(slot)
        self._bring_to_host(pictures, slot)
        for view, video in enumerate(self._videos):
            slot.readers.append(self._feeders[view].submit(_Task(slot, "video", view, video.write)))
        for view, folder in enumerate(self._folders):
            save = _Task(slot, "images", view, partial(write_png, folder / f"{k:04d}.png"))
            slot.readers.append(self._pool.submit(save))
        for view, write in enumerate(self._masks):
            slot.readers.append(self._pool.submit(_Task(slot, "masks", view, partial(write, k))))
        self._written += 1

    def _bring_to_host(self, pictures: dict[str, torch.Tensor], slot: _Slot) -> None:
        if self._stream is None:
            slot.on_host = pictures
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for kind, picture in pictures.items():
                if kind not in slot.on_host:
                    slot.on_host[kind] = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
                slot.on_host[kind].copy_(picture, non_blocking=True)
                picture.record_stream(self._stream)
        # A blocking event: the feeders that wait for it leave their cores to the encoders.
        slot.copied = torch.cuda.Event(blocking=True)
        slot.copied.record(self._stream)

    def _wait_for(self, slot: _Slot) -> None:
        for reader in slot.readers:
            reader.result()
        slot.readers.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is not None:
                self._stack.__exit__(kind, error, traceback)
                return
            for slot in self._slots:
                self._wait_for(slot)
            # All encoders finish at once.
            endings = [self._feeders[view].submit(video.finish) for view, video in enumerate(self._videos)]
            for ending in endings:
                ending.result()


@dataclass(frozen=True)
class _Task:
    """Hands one picture of a slot to the function that writes it."""

    slot: _Slot
    kind: str
    view: int
    write: Callable[[np.ndarray], None]

    def __call__(self) -> None:
        self.write(self.slot.picture(self.kind, self.view))


def _executor(stack: ExitStack, threads: int) -> Executor:
    """Return an executor whose threads finish their present task and end when ``stack`` does."""
    executor = ThreadPoolExecutor(threads)
    stack.callback(executor.shutdown, wait=True, cancel_futures=True)
    return executor


def encoder_threads(num_views: int) -> int:
    """Return how many threads each of ``num_views`` encoders gets, so that together they use the machine's cores.

    More than 16 threads make an encoder no faster.
    """
    return max(1, min(16, core_count() // num_views))

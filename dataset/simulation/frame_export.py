"""This module brings frames of a simulation to the CPU while the device simulates on."""

# mypy: ignore-errors

from dataclasses import dataclass

import numpy as np
import torch
import warp as wp

from dataset.mpm.deformation import Problem, export_particles, vec6
from dataset.mpm.lattice import Lattice
from dataset.mpm.state import MPMState
from gaussians.files.trajectory_format import Frame
from gaussians.representation import Gaussians

_SHAPES = {"means": wp.vec3, "covariances": vec6, "rotations": wp.mat33, "velocities": wp.vec3}


@dataclass
class _Slot:
    """Holds the memory of one frame.

    Attributes:
        on_device: arrays of the Gaussians that move, and the worst problem found.
        on_host: arrays of all Gaussians, and the problem; on CUDA pinned, so that copying does not stop the device.
        copied: the event after which ``on_host`` is up to date; None on the CPU.
    """

    on_device: dict[str, wp.array]
    on_host: dict[str, wp.array]
    copied: wp.Event | None


class FrameExporter:
    """Turns a state into frames of all Gaussians: those that move, then those that do not.

    Call ``start`` for each frame and later ``finish`` for each, in the same order, at most two in between. On CUDA
    neither the simulation nor ``start`` waits for the copy.

    Args:
        state: the P particles; the first M of them are Gaussians.
        gaussians: all N Gaussians, of which the first M move.
        covariances: (M, 6), metres^2, of the undeformed Gaussians that move, turned into the simulation.
        rotation: (3, 3), from the world to the simulation.
        lattice: the grid; a particle outside it is a problem.
        speed_limit: m/s; a particle that reaches it is a problem.
        labels: (P,), the object of each particle.
    """

    def __init__(
        self,
        state: MPMState,
        gaussians: Gaussians,
        covariances: torch.Tensor,
        rotation: torch.Tensor,
        lattice: Lattice,
        speed_limit: float,
        labels: np.ndarray,
    ) -> None:
        self._state, self._lattice, self._speed_limit = state, lattice.struct(), speed_limit
        self._device, self._moving = state.x.device, len(covariances)
        self._back = wp.mat33(*rotation.T.flatten().tolist())
        self._covariances = wp.array(covariances.numpy(), dtype=vec6, device=self._device)
        self._labels = wp.array(labels.astype(np.int32), dtype=int, device=self._device)
        self._stream = wp.Stream(self._device) if self._device.is_cuda else None
        self._slots = [self._slot(gaussians) for _ in range(2)]
        self._started = self._finished = 0

    def _slot(self, gaussians: Gaussians) -> _Slot:
        count, cuda = len(gaussians), self._device.is_cuda
        identity = torch.eye(3).expand(count, 3, 3)
        still = (gaussians.means, gaussians.covariance(), identity, torch.zeros(count, 3))
        on_host, on_device = {}, {}
        for (name, dtype), values in zip(_SHAPES.items(), still, strict=True):
            on_host[name] = wp.array(values.numpy(), dtype=dtype, device="cpu", pinned=cuda, copy=True)
            on_device[name] = (
                wp.empty(self._moving, dtype=dtype, device=self._device) if cuda else on_host[name][: self._moving]
            )
        on_host["problem"] = wp.empty(1, dtype=int, device="cpu", pinned=cuda)
        on_device["problem"] = wp.empty(1, dtype=int, device=self._device) if cuda else on_host["problem"]
        return _Slot(on_device, on_host, wp.Event(self._device) if cuda else None)

    def start(self) -> None:
        """Begin to export the state as it is at this point of the device's work."""
        assert self._started - self._finished < 2
        slot = self._slots[self._started % 2]
        if slot.copied is not None and self._started >= 2:
            wp.wait_event(slot.copied)
        out = slot.on_device
        out["problem"].fill_(int(Problem.NONE))
        state = self._state
        particles = [state.whole_deformation, state.x, state.v, self._covariances, self._labels]
        wp.launch(
            export_particles,
            len(state),
            [self._lattice, self._speed_limit, self._moving, self._back, *particles],
            [out[name] for name in (*_SHAPES, "problem")],
            device=self._device,
        )
        if self._stream is not None:
            self._stream.wait_event(wp.record_event())
            for name, array in out.items():
                wp.copy(slot.on_host[name], array, count=len(array), stream=self._stream)
            self._stream.record_event(slot.copied)
        self._started += 1

    def finish(self) -> tuple[Frame, Problem, int]:
        """Wait for the oldest frame that was started.

        Returns:
            The frame, in the world, whose tensors stay as they are until the next but one is started; the worst thing
            found in it, and the label of an object that it was found in.
        """
        slot = self._slots[self._finished % 2]
        self._finished += 1
        if slot.copied is not None:
            wp.synchronize_event(slot.copied)
        problem, label = Problem.decode(int(slot.on_host["problem"].numpy()[0]))
        means, covariances, stored, velocities = (torch.from_numpy(slot.on_host[name].numpy()) for name in _SHAPES)
        return Frame(means, covariances, stored.mT, velocities), problem, label

"""Define what force fields share: settings, and how they are integrated within a frame."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field

from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import compose, turn
from dynamic_models.models.building_blocks.integration import OdeMethod, State, advance
from dynamic_models.models.interface import MAX_LAYERS, MAX_WIDTH, Carry, FrameModel
from gaussians.numbers import within

Length = Annotated[float, Field(gt=0), within(1e-6, 1e3)]
"""The distance at which points feel something, metres."""
Tolerance = Annotated[float, Field(gt=0), within(1e-9, 1e3)]
_STAGES = {"euler": 1, "leapfrog": 1, "midpoint": 2, "rk4": 4, "adaptive": 12}


class ForceFieldSettings(BaseModel):
    """A ``ForceFieldSettings`` holds the settings that every force field has."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    hidden_dim: int = Field(512, ge=1, le=MAX_WIDTH)
    """width of the networks"""
    num_layers: int = Field(2, ge=1, le=MAX_LAYERS)
    """depth of the networks"""
    threshold: Length = 0.1
    """distance below which points feel walls and other objects, metres"""
    ode_method: OdeMethod = "euler"
    """how a frame is integrated"""
    step_size: Annotated[float, Field(gt=0), within(1e-6, 1e3)] = 5e-3
    """longest step of a fixed-step method, seconds"""
    rtol: Tolerance = 1e-3
    """relative tolerance of the adaptive method"""
    atol: Tolerance = 1e-4
    """absolute tolerance of the adaptive method"""


class ForceField(FrameModel):
    """A ``ForceField`` is a differential equation, integrated within each frame by the method of its settings."""

    def __init__(self, settings: ForceFieldSettings) -> None:
        super().__init__(settings)
        self.capturable = settings.ode_method != "adaptive"

    @property
    @abstractmethod
    def blocks(self) -> float:
        """Return how many layers every point goes through, for an estimate of what backpropagation keeps."""

    def integrate(self, derivative: Callable[[State], State], state: State, frame_dt: float) -> State:
        """Return ``state`` one frame later."""
        s = self.settings
        return advance(lambda t, y: derivative(y), state, 0.0, frame_dt, s.ode_method, s.step_size, s.rtol, s.atol)

    def activation_bytes(self, scene: SceneState, frame_dt: float) -> float:
        """Estimate what backpropagation through a ``step`` keeps: some 2.5 tensors for each block and point."""
        steps = _STAGES[self.settings.ode_method] * max(1.0, frame_dt / self.settings.step_size)
        return 10.0 * scene.mask.numel() * self.settings.hidden_dim * self.blocks * steps

    def step_bodies(
        self,
        derivative: Callable[[torch.Tensor, list[torch.Tensor], State], State],
        carry: Carry,
        frame_dt: float,
        memories: int = 0,
    ) -> Carry:
        """Return ``carry`` one frame later, for models whose orientations are rotations.

        Orientation is exp(phi) R with phi = 0 at the frame's start (Munthe-Kaas 1999), so that any method for vectors
        integrates it and it stays a rotation.

        Args:
            derivative: of R (B, O, 3, 3) at the frame's start, what never changes, and a state: the rates of the state,
                which is q, qdot, x, v, phi, omega, see ``BodyState``, and after these a 0 and a memory in turn.
            carry: q, qdot, x, v, omega, R; then the memories; then what never changes.
            memories: how many tensors the model remembers contacts in.
        """
        q, qdot, x, v, omega, R, *others = carry
        memory, constant = others[:memories], others[memories:]
        # The integrator takes a memory for a velocity: each gets a position, 0, whose rate is 0.
        kept = [entry for each in memory for entry in (each.new_zeros(()), each)]
        state = (q, qdot, x, v, torch.zeros_like(x), omega, *kept)
        q, qdot, x, v, phi, omega, *kept = self.integrate(partial(derivative, R, constant), state, frame_dt)
        return q, qdot, x, v, omega, compose(phi, R), *kept[1::2], *constant


def body_points(carry: Carry) -> torch.Tensor:
    """Return the world keypoints (B, O, P, 3), metres, of what ``ForceField.step_bodies`` takes."""
    q, _, x, _, _, R, *_ = carry
    return turn(R, q) + x[..., None, :]


def limit(outputs: torch.Tensor, largest: float) -> torch.Tensor:
    """Return ``outputs`` where they are small, and never more than ``largest``."""
    return largest * torch.tanh(outputs / largest)

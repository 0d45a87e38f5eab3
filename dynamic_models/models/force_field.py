"""What force fields have in common: objects as rigid bodies that deform, integrated frame by frame."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from pydantic import BaseModel, ConfigDict, Field

from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.building_blocks.body_frame import compose, turn
from dynamic_models.models.building_blocks.integration import OdeMethod, State, advance
from dynamic_models.models.interface import Carry, FrameModel

_STAGES = {"euler": 1, "leapfrog": 1, "midpoint": 2, "rk4": 4, "adaptive": 12}


class ForceFieldSettings(BaseModel):
    """What must be known besides the weights to use a trained force field."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    hidden_dim: int = Field(512, ge=1)
    num_layers: int = Field(2, ge=1)
    threshold: float = Field(0.1, gt=0)
    """distance below which points feel walls and other objects, metres"""
    ode_method: OdeMethod = "euler"
    step_size: float = Field(5e-3, gt=0)
    """longest step of a fixed-step method, seconds"""
    rtol: float = Field(1e-3, gt=0)
    atol: float = Field(1e-4, gt=0)


class ForceField(FrameModel):
    """Carries q, qdot, x, v, omega, R, see ``body_frame.BodyState``, then what it remembers of contacts, and then what
    never changes.

    Attributes:
        settings: see there.
        memories: how many tensors it remembers contacts in.
    """

    memories = 0

    def __init__(self, settings: ForceFieldSettings) -> None:
        super().__init__()
        self.settings = settings
        self.capturable = settings.ode_method != "adaptive"

    @property
    @abstractmethod
    def blocks(self) -> float:
        """Layers that every point goes through, for an estimate of what backpropagation keeps."""

    @abstractmethod
    def derivative(
        self, scene: SceneState, R0: torch.Tensor, constant: list[torch.Tensor], push: torch.Tensor, y: State
    ) -> State:
        """Of q, qdot, x, v, phi, omega, with the orientation exp(phi) R0, and after these of a 0 and a memory in turn.

        Args:
            constant: the part of what is carried that never changes.
            push: (B, O, 6), see ``FrameModel.step``.
        """

    def points(self, carry: Carry) -> torch.Tensor:
        q, _, x, _, _, R, *_ = carry
        return turn(R, q) + x[..., None, :]

    def step(self, scene: SceneState, carry: Carry, push: torch.Tensor, frame_dt: float) -> Carry:
        """Orientation is exp(phi) R with phi = 0 at the frame's start (Munthe-Kaas 1999), so that any method for
        vectors integrates it and it stays a rotation."""
        q, qdot, x, v, omega, R, *others = carry
        memory, constant = others[: self.memories], others[self.memories :]
        # To the integrator memories are velocities, each of a position that stays.
        kept = [entry for each in memory for entry in (each.new_zeros(()), each)]
        state = (q, qdot, x, v, torch.zeros_like(x), omega, *kept)
        derivative = partial(self.derivative, scene, R, constant, push)
        q, qdot, x, v, phi, omega, *kept = self.integrate(derivative, state, frame_dt)
        return q, qdot, x, v, omega, compose(phi, R), *kept[1::2], *constant

    def integrate(self, derivative: Callable[[State], State], state: State, frame_dt: float) -> State:
        """``state`` one frame later, by the method of the settings."""
        s = self.settings
        return advance(lambda t, y: derivative(y), state, 0.0, frame_dt, s.ode_method, s.step_size, s.rtol, s.atol)

    def activation_bytes(self, scene: SceneState, frame_dt: float) -> float:
        """Some 2.5 tensors for each block and point."""
        steps = _STAGES[self.settings.ode_method] * max(1.0, frame_dt / self.settings.step_size)
        return 10.0 * scene.mask.numel() * self.settings.hidden_dim * self.blocks * steps


def limit(outputs: torch.Tensor, largest: float) -> torch.Tensor:
    """``outputs`` where they are small, and never more than ``largest``."""
    return largest * torch.tanh(outputs / largest)

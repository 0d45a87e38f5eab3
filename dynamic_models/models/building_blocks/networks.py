"""Define the networks that force fields are made of."""

import torch
from torch import nn


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Return Linear + LayerNorm + ReLU in place, which on a CPU saves large layers two fifths of their time."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU(inplace=True))


def mlp(inputs: int, hidden: int, num_layers: int) -> nn.Sequential:
    """Return ``num_layers`` blocks, the first from ``inputs`` to ``hidden`` numbers."""
    return nn.Sequential(*(block(inputs if i == 0 else hidden, hidden) for i in range(num_layers)))


class NarrowLinear(nn.Linear):
    """A ``NarrowLinear`` is a linear layer to a few numbers.

    Compiled, each number is a sum of its own that is fused with what comes before: a matrix product would take as long
    as one to as many numbers as other layers have.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            return super().forward(features)
        return torch.stack([(features * row).sum(-1) for row in self.weight.unbind()], -1) + self.bias


def silent_linear(inputs: int, outputs: int) -> NarrowLinear:
    """Return a zero-initialised last layer, with which an untrained model adds nothing to free flight."""
    linear = NarrowLinear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def masked_max(features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the largest value over the points of each object, (B, O, h); 0 for objects without points.

    Args:
        features: (B, O, P, h).
        mask: (B, O, P), bool.
    """
    lowest = torch.finfo(features.dtype).min
    largest = features.masked_fill(~mask[..., None], lowest).amax(-2)
    return largest.masked_fill(largest == lowest, 0)


class PointEncoder(nn.Module):
    """A ``PointEncoder`` gives each object a code (B, O, h) for its points (B, O, P, 3).

    It is a PointNet (Qi et al. 2017) with residual blocks.
    """

    def __init__(self, hidden: int, num_layers: int) -> None:
        super().__init__()
        self.lift = block(3, hidden)
        self.blocks = nn.ModuleList(block(hidden, hidden) for _ in range(num_layers))
        self.head = block(hidden, hidden)

    def forward(self, points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features = self.lift(points)
        for residual in self.blocks:
            features = features + residual(features)
        return self.head(masked_max(features, mask))


class StressNet(nn.Module):
    """A ``StressNet`` gives points accelerations (B, O, P, 3), from their features and their object's largest ones."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.local = mlp(inputs, hidden, 3)
        # Together a linear layer of own and object's features; the object's part is computed once an object.
        self.own = nn.Linear(hidden, hidden)
        self.whole = nn.Linear(hidden, hidden, bias=False)
        self.joint = nn.Sequential(
            nn.LayerNorm(hidden), nn.ReLU(inplace=True), block(hidden, hidden), silent_linear(hidden, 3)
        )

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        local = self.local(features)
        whole = masked_max(local, mask)
        if torch.compiler.is_compiling():  # a matrix product of these few rows would take as long as that of all points
            whole = (whole[..., None, :] * self.whole.weight).sum(-1)
        else:
            whole = self.whole(whole)
        return self.joint(self.own(local) + whole[:, :, None])

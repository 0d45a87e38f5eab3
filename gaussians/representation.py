"""Define the ``Gaussians`` type, which every stage passes on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch

from gaussians.covariance import covariance_from_scales, scales_from_covariance, transform_covariance
from gaussians.rotations import matrix_to_quaternion, multiply_quaternions
from gaussians.spherical_harmonics import degree_of, rotate_sh
from gaussians.stage.shape_checks import check_shape


@dataclass(frozen=True)
class Gaussians:
    """A ``Gaussians`` holds N anisotropic Gaussians with activated values, on one device.

    The shape is either ``scales`` with ``quaternions`` or ``covariances``, never both.

    Attributes:
        means: (N, 3), metres.
        opacities: (N,), 0 to 1.
        sh: (N, (degree + 1)^2, 3), spherical-harmonic coefficients of the colour.
        scales: (N, 3), standard deviations along the own axes, metres.
        quaternions: (N, 4), wxyz, not necessarily normalised.
        covariances: (N, 6), metres^2, as xx, xy, xz, yy, yz, zz.
        labels: (N,) int32, the object each Gaussian belongs to, -1 for none.
    """

    means: torch.Tensor
    opacities: torch.Tensor
    sh: torch.Tensor
    scales: torch.Tensor | None = None
    quaternions: torch.Tensor | None = None
    covariances: torch.Tensor | None = None
    labels: torch.Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.means)
        check_shape("means", self.means, "N", 3)
        check_shape("opacities", self.opacities, count)
        check_shape("sh", self.sh, count, "K", 3)
        degree_of(self.sh.shape[1])
        held = (self.scales is not None, self.quaternions is not None, self.covariances is not None)
        if held not in ((True, True, False), (False, False, True)):
            raise ValueError("expected either scales and quaternions or covariances")
        for name, size in (("scales", 3), ("quaternions", 4), ("covariances", 6)):
            tensor = getattr(self, name)
            if tensor is not None:
                check_shape(name, tensor, count, size)
        if self.labels is not None:
            check_shape("labels", self.labels, count)

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, rows: torch.Tensor | slice) -> "Gaussians":
        """Return the Gaussians at an index tensor, a mask, or a slice."""
        return self._map(lambda tensor: tensor[rows])

    @property
    def device(self) -> torch.device:
        return self.means.device

    @property
    def sh_degree(self) -> int:
        return degree_of(self.sh.shape[1])

    def to(self, device: torch.device | str) -> "Gaussians":
        return self._map(lambda tensor: tensor.to(device))

    def as_float32(self) -> "Gaussians":
        """Return the same Gaussians in float32; labels stay whole numbers."""
        return replace(replace(self, labels=None)._map(lambda tensor: tensor.float()), labels=self.labels)

    def _map(self, function) -> "Gaussians":  # type: ignore[no-untyped-def]
        changed = {
            field.name: function(getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) is not None
        }
        return replace(self, **changed)

    def covariance(self) -> torch.Tensor:
        """Return covariances (N, 6), metres^2, from whichever form is held."""
        if self.covariances is not None:
            return self.covariances
        assert self.scales is not None
        assert self.quaternions is not None
        return covariance_from_scales(self.scales, self.quaternions)

    def scales_and_quaternions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scales (N, 3), metres, and quaternions (N, 4), from whichever form is held."""
        if self.scales is not None and self.quaternions is not None:
            return self.scales, self.quaternions
        assert self.covariances is not None
        return scales_from_covariance(self.covariances)

    def with_covariances(self) -> "Gaussians":
        """Return the same Gaussians with covariances instead of scales and quaternions."""
        return replace(self, covariances=self.covariance(), scales=None, quaternions=None)

    def with_sh_degree(self, degree: int) -> "Gaussians":
        """Return the same Gaussians with coefficients cut off, or filled up with zeros, to ``degree``."""
        count = (degree + 1) ** 2
        padding = torch.zeros(len(self), max(0, count - self.sh.shape[1]), 3).to(self.sh)
        return replace(self, sh=torch.cat([self.sh[:, :count], padding], 1))

    def transformed(
        self, rotation: torch.Tensor | None = None, translation: torch.Tensor | None = None, scale: float = 1.0
    ) -> "Gaussians":
        """Scale about the origin, then rotate, then translate; colours turn along with the rotation.

        Args:
            rotation: (3, 3), identity by default.
            translation: (3,), metres, zero by default.
            scale: a positive factor.
        """
        means, sh, quaternions = self.means * scale, self.sh, self.quaternions
        covariances = None if self.covariances is None else self.covariances * scale**2
        if rotation is not None:
            check_shape("rotation", rotation, 3, 3)
            rotation = rotation.to(means)
            means, sh = means @ rotation.T, rotate_sh(sh, rotation)
            if quaternions is not None:
                quaternions = multiply_quaternions(matrix_to_quaternion(rotation).expand_as(quaternions), quaternions)
            if covariances is not None:
                covariances = transform_covariance(covariances, rotation)
        if translation is not None:
            check_shape("translation", translation, 3)
            means = means + translation.to(means)
        scales = None if self.scales is None else self.scales * scale
        return replace(self, means=means, sh=sh, scales=scales, quaternions=quaternions, covariances=covariances)

    @staticmethod
    def cat(parts: Sequence["Gaussians"]) -> "Gaussians":
        """Return all of ``parts`` one after the other.

        The highest SH degree among them is kept. Scales and quaternions survive if all parts hold them, otherwise
        all become covariances. Labels survive if any part has them; parts without get -1.
        """
        degree = max(part.sh_degree for part in parts)
        parts = [part.with_sh_degree(degree) for part in parts]
        if any(part.covariances is not None for part in parts):
            parts = [part.with_covariances() for part in parts]
        if any(part.labels is not None for part in parts):
            unlabelled = [part.labels is None for part in parts]
            parts = [
                replace(part, labels=torch.full((len(part),), -1, dtype=torch.int32, device=part.device))
                if bare
                else part
                for part, bare in zip(parts, unlabelled, strict=True)
            ]
        present = [field.name for field in fields(Gaussians) if getattr(parts[0], field.name) is not None]
        return Gaussians(**{name: torch.cat([getattr(part, name) for part in parts]) for name in present})

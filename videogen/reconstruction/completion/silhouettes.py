"""Compare where pictures show an object with where it would show, and bring it there."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.alignment import Similarity

_COVERED = 0.5  # opacity of a silhouette
_MOST_VIEWS = 6  # that the object is fitted to
_SIDE = 64  # of a window onto the object, pixels
_MARGIN = 0.3  # around the mask, of its longer side
_SMALLEST = 4  # pixels of a mask that says something
_STEPS, _RATE = 30, 0.01  # of the fit; the rate is of the object's size, and of radians


@dataclass(frozen=True)
class Silhouettes:
    """A ``Silhouettes`` says where pictures show an object.

    Attributes:
        cameras: V cameras, in the frame of what was seen.
        masks: (V, H, W) bool, pixels that show the object.
        hidden: (V, H, W) bool, pixels where something else may stand before the object, which say nothing.
    """

    cameras: Cameras
    masks: torch.Tensor
    hidden: torch.Tensor

    def __post_init__(self) -> None:
        shape = (len(self.cameras), self.cameras.height, self.cameras.width)
        check_shape("masks", self.masks, *shape)
        check_shape("hidden", self.hidden, *shape)

    @torch.no_grad()
    def overlap(self, gaussians: Gaussians) -> float:
        """Return the mean intersection over union with Gaussians' own, over views that show either."""
        plain = gaussians.with_sh_degree(0)
        shares = []
        for view in range(len(self.cameras)):
            drawn = rasterize(plain, self.cameras[view : view + 1]).alpha[0] > _COVERED
            mask, counted = self.masks[view].to(drawn.device), ~self.hidden[view].to(drawn.device)
            union = ((drawn | mask) & counted).sum()
            if union:
                shares.append(float((drawn & mask & counted).sum() / union))
        return sum(shares) / len(shares) if shares else 0.0

    def fitted(
        self, start: Similarity, completed: Gaussians, penalty: Callable[[torch.Tensor], torch.Tensor]
    ) -> Similarity:
        """Return a similarity near ``start`` after which an object's silhouettes overlap more with the masks.

        Args:
            completed: the object, about the origin of a frame of its own.
            penalty: what a change (7,) costs, beside 1 - intersection over union: the logarithm of a growth, a rotation
                vector and a translation in the object's frame, which come before ``start``.
        """
        windows = self._windows()
        if windows is None:
            return start
        plain = completed.with_sh_degree(0)
        cameras, (masks, counted) = windows[0], (layer.to(plain.device) for layer in windows[1:])
        size = float(plain.means.std(0).norm())
        units = torch.tensor([1.0, 1, 1, 1, size, size, size], dtype=torch.float64)
        change = torch.zeros(7, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([change], lr=_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
        for _ in range(_STEPS):
            with torch.enable_grad():
                scaled = change * units
                moved = plain.transformed(rotation_exp(scaled[1:4]), scaled[4:], scaled[0].exp().to(plain.means))  # type: ignore[arg-type]
                alpha = rasterize(start.gaussians(moved), cameras).alpha
                both = (alpha * masks * counted).sum((1, 2))
                either = ((alpha + masks - alpha * masks) * counted).sum((1, 2))
                loss = 1 - (both / either.clamp_min(1)).mean() + penalty(scaled).to(alpha)
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            schedule.step()
        scaled = change.detach() * units
        return start @ Similarity(float(scaled[0].exp()), rotation_exp(scaled[1:4]), scaled[4:])

    def _windows(self) -> tuple[Cameras, torch.Tensor, torch.Tensor] | None:
        """Return cameras that see the masks alone, the masks (V, side, side), and what their pixels count."""
        areas = (self.masks & ~self.hidden).sum((1, 2))
        views = (areas >= _SMALLEST).nonzero()[:, 0]
        if not len(views):
            return None
        views = views[torch.linspace(0, len(views) - 1, min(_MOST_VIEWS, len(views))).round().long().to(views.device)]
        Ks, masks, counted = [], [], []
        for view in views.tolist():
            rows, columns = self.masks[view].any(1).nonzero()[:, 0], self.masks[view].any(0).nonzero()[:, 0]
            first = torch.stack([columns[0], rows[0]])
            last = torch.stack([columns[-1], rows[-1]]) + 1
            side = max(1, round((1 + 2 * _MARGIN) * int((last - first).max())))
            left, top = ((first + last - side) / 2).round().long().tolist()
            # Beyond the picture nothing is known.
            layers = torch.stack([self.masks[view], ~self.hidden[view]]).float()
            right, below = side - (self.cameras.width - left), side - (self.cameras.height - top)
            window = torch.nn.functional.pad(layers, (-left, right, -top, below))
            masked, known = interpolate(window[None], size=(_SIDE, _SIDE), mode="bilinear", antialias=True)[0]
            K = self.cameras.Ks[view].clone()
            K[:2, 2] -= torch.tensor([left, top]).to(K)
            K[:2] *= _SIDE / side
            Ks.append(K)
            masks.append(masked)
            counted.append(known)
        cameras = Cameras(self.cameras.viewmats[views.to(self.cameras.viewmats.device)], torch.stack(Ks), _SIDE, _SIDE)
        return cameras, torch.stack(masks), torch.stack(counted)

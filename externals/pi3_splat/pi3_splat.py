"""Read a checkpoint of Pi3_splat and reconstruct scenes with it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from externals.checkpoint_files import check_free_memory, load_strictly, read_checkpoint
from externals.pi3_splat.network import NetworkOutput, Pi3Network, Pi3Sizes
from externals.pi3_splat.reconstruction import Pi3Reconstruction
from externals.pi3_splat.transformer import PATCH
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape

_PREFIX = "encoder."  # of every name in the file
# Values that live at the peak, of each channel of each token, each feature of each pixel of a view, and each Gaussian,
# as measured for one and four pictures of 448 x 448 on a CPU.
_VALUES_OF_A_CHANNEL, _VALUES_OF_A_FEATURE, _VALUES_OF_A_GAUSSIAN = 12, 5, 80


class Pi3Splat:
    """A ``Pi3Splat`` reconstructs scenes from pictures of them alone."""

    def __init__(self, network: Pi3Network, dtype: torch.dtype = torch.float32, rounded_angles: bool = False) -> None:
        """See ``from_checkpoint``; the network is in evaluation mode, float32, on its device."""
        self.network = network
        self.dtype = dtype
        self.rounded_angles = rounded_angles
        network.multiply_in(dtype)

    @staticmethod
    def from_checkpoint(
        path: str | Path,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        rounded_angles: bool = False,
    ) -> "Pi3Splat":
        """Read a checkpoint: a folder as published (``checkpoint-final``), or a file of tensors.

        Args:
            dtype: torch.float32, or torch.bfloat16 for products with matrices of that type, which take a fraction of
                the time on a GPU. Normalisations, residuals and heads are in float32 with both.
            rounded_angles: whether rotary angles are rounded to bfloat16, to errors of up to 0.06. The published code
                does so in bfloat16, in training too, so weights may be used to it; the exact ones are the default.

        Raises:
            InputError: the checkpoint is missing, damaged or another model's, or the device's memory is too small.
        """
        tensors = read_checkpoint(path)
        if all(name.startswith(_PREFIX) for name in tensors):
            tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
        with torch.device("meta"):
            network = Pi3Network(_sizes(tensors, path))
        load_strictly(network, tensors, path, what="Pi3_splat")
        size = sum(tensor.numel() for tensor in tensors.values()) * torch.float32.itemsize
        check_free_memory(device, size, "Pi3_splat", "use a device with more memory")
        return Pi3Splat(network.to(device, torch.float32), dtype, rounded_angles)

    @torch.inference_mode()
    def reconstruct(self, images: torch.Tensor) -> Pi3Reconstruction:
        """Return the scene that pictures show, wherever their cameras were; their order does not matter.

        Args:
            images: (N, 3, H, W), RGB, 0 to 1, H and W multiples of 14. About 448 x 448 pixels is what the network was
                trained on.

        Raises:
            InputError: the device's memory is too small for these pictures.
            ValueError: their shape is another.
        """
        return Pi3Reconstruction.of(self.predict(images))

    @torch.inference_mode()
    def predict(self, images: torch.Tensor) -> NetworkOutput:
        """Return what the network says in each camera's frame, as published; see ``reconstruct``."""
        check_shape("images", images, "N", 3, "H", "W")
        if not len(images) or images.shape[-2] % PATCH or images.shape[-1] % PATCH or not images[0].numel():
            raise ValueError(f"images: expected sides that are multiples of {PATCH}, found {tuple(images.shape)}")
        device = self.network.image_mean.device
        views, _, height, width = images.shape
        check_free_memory(
            device,
            self.bytes_needed(views, height, width),
            f"Pi3_splat for {views} pictures of {width} x {height} pixels",
            "use fewer or smaller pictures",
        )
        # TensorFloat-32, which is PyTorch's choice for convolutions, has ten bits of mantissa.
        with _convolutions(allow_tf32=self.dtype != torch.float32):
            return self.network(images.to(device, torch.float32), self.rounded_angles)

    def bytes_needed(self, views: int, height: int, width: int) -> int:
        """Return about how many bytes pictures of one size take, beside the weights."""
        sizes = self.network.sizes
        pixels = height * width
        tokens = views * (sizes.registers + pixels // PATCH**2)
        of_tokens = _VALUES_OF_A_CHANNEL * sizes.width * tokens
        of_features = _VALUES_OF_A_FEATURE * sizes.features * pixels  # of one view at a time
        of_gaussians = _VALUES_OF_A_GAUSSIAN * views * pixels
        return torch.float32.itemsize * (of_tokens + of_features + of_gaussians)


def _sizes(tensors: Mapping[str, torch.Tensor], path: str | Path) -> Pi3Sizes:
    """Return the sizes that a checkpoint's tensors have.

    Raises:
        InputError: one that tells them is missing.
    """
    try:
        return Pi3Sizes.of(tensors)
    except (KeyError, IndexError) as error:
        raise InputError(f"{path}: not a checkpoint of Pi3_splat: {len(tensors)} tensors without {error}") from None


@contextmanager
def _convolutions(allow_tf32: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allow_tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before

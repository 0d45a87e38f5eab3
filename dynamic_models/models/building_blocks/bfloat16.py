"""Numbers in float32 as sums of numbers in bfloat16, which a GPU's matrix units multiply some fifteen times as fast."""

import torch

_UPPER_HALF = -(2**16)  # of the bits of a float32: a bfloat16


def bfloat16_parts(numbers: torch.Tensor) -> list[torch.Tensor]:
    """``numbers`` as a sum in bfloat16: themselves if they are that, else three parts of 8 bits each, largest first."""
    if numbers.dtype == torch.bfloat16:
        return [numbers]
    rest, parts = numbers.float(), []
    for _ in range(3):
        # Not by rounding, of which compilers would leave out what follows it.
        part = (rest.view(torch.int32) & _UPPER_HALF).view(torch.float32)
        parts.append(part.bfloat16())
        rest = rest - part
    return parts

"""Capture functions of tensors as CUDA graphs, which launch many small kernels at once.

Launching such kernels one by one takes longer than they do.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import torch

Result = TypeVar("Result")


class CapturedFunction(Generic[Result]):
    """A ``CapturedFunction`` is a CUDA graph of a function, which always reads and writes the same memory.

    Attributes:
        inputs: the function's arguments. Write into them before ``replay``; the function may write into them, too.
    """

    def __init__(self, function: Callable[..., Result], arguments: Sequence[torch.Tensor]) -> None:
        """Run ``function`` once, then capture it.

        Args:
            function: of tensors on one CUDA device, in which nothing waits for the device.
            arguments: tensors to copy ``inputs`` from.
        """
        self.inputs = tuple(tensor.clone() for tensor in arguments)
        stream = torch.cuda.Stream(self.inputs[0].device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries allocate what they need at their first use
            function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = function(*self.inputs)

    def replay(self) -> Result:
        """Run the function on ``inputs``; the next run overwrites what it returns."""
        self._graph.replay()
        return self._result


def is_captured(tensor: torch.Tensor) -> bool:
    """Return whether what is done with ``tensor`` now becomes part of a CUDA graph."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def copy_into(targets: Iterable[torch.Tensor], sources: Iterable[torch.Tensor]) -> None:
    """Copy each source into its target; one that is its target already is left alone."""
    for target, source in zip(targets, sources, strict=True):
        if target is not source:
            target.copy_(source)

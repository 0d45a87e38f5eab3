"""What changes while a model trains, as functions of the part of the training that is done, 0 to 1."""

import math


def learning_rate(peak: float, lowest: float, done: float, warm_up: float = 0.02) -> float:
    """Linear rise to ``peak`` during ``warm_up``, then half a cosine down to ``lowest``."""
    if done < warm_up:
        return peak * (done + 0.1 * warm_up) / (1.1 * warm_up)
    phase = (done - warm_up) / (1 - warm_up)
    return lowest + (peak - lowest) * (1 + math.cos(math.pi * min(1.0, phase))) / 2


def window_length(first: int, last: int, done: float, growth: float = 0.5, stages: int = 8) -> int:
    """Frames of a training window: grows from ``first`` to ``last`` during the first ``growth`` of the training.

    Short rollouts have gradients that say what to do; long ones, what the errors add up to. It grows in ``stages``
    jumps, because each length is captured as a CUDA graph of its own.
    """
    return round(first + (last - first) * min(stages, math.floor(done / growth * stages)) / stages)

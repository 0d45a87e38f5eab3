"""Say how large and small the numbers may be that users give: far within the range of single precision, 1e38 to 1e-38.

A density of 1e-320 would be zero in it, and the square of a force of 1e30 infinite. Such numbers are refused where they
are read: no unit of ours makes them mean anything.
"""

LARGEST = 1e15
"""The largest number, whatever its unit."""
SMALLEST = 1e-15
"""The smallest number where only positive ones have a meaning."""
MOST_FRAMES = 100_000
"""The most frames of a trajectory or prediction."""
LARGEST_PICTURE = 16_000
"""Pixels along a side of the largest picture: the encoder of videos takes no larger ones."""

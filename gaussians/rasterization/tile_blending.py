"""Blend one splat into the pixels of a tile, and differentiate that, 16 pixels of a row at a time.

The functions are C++ with Clang's vector type, which becomes SIMD instructions on every processor. Warp's own vectors
of 16 numbers are compiled to scalar code for the most part: the backward pass takes 2.6 times as long with them.
"""

# mypy: ignore-errors

import re

import warp as wp

from gaussians.rasterization.image_model import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE

TILE = 16
IMAGES, GRADIENTS = 5 * TILE, 6 * TILE
"""The rows of pixels that ``blend_splat`` and ``differentiate_splat`` work on."""
MOMENTS = 10
"""The numbers that ``differentiate_splat`` keeps of a splat.

With h = alpha dL/dalpha and (x, y) the offset from the mean: the sums over pixels of h, h x, h y, h x^2, h x y, h y^2,
and of the weight times the gradients of red, green, blue and depth.
"""

Pixels = wp.types.vector(TILE, wp.float32)


@wp.struct
class Splat:
    """A ``Splat`` is a projected Gaussian.

    With (x, y) the offset from its mean, a pixel's squared distance in standard deviations is
    (across x + shear y)^2 + (along y)^2: the Cholesky factor of the inverse covariance. The mean itself is
    kept relative to the first pixel of the splat's bounds, so that single precision holds it closely.
    """

    corner: wp.vec2f  # centre of the first pixel minus mean
    across: wp.float32
    shear: wp.float32
    along: wp.float32
    opacity: wp.float32
    reach: wp.float32  # squared distance at which alpha falls to MIN_ALPHA
    depth: wp.float32
    color: wp.vec3f


def _filled(code: str) -> str:
    """Return the C++ with the constants' values in the place of their names."""
    numbers = {"MAX_ALPHA": MAX_ALPHA, "MIN_ALPHA": MIN_ALPHA, "MIN_TRANSMITTANCE": MIN_TRANSMITTANCE}
    code = code.replace("RAMP", "{" + ", ".join(map(str, range(TILE))) + "}")
    for name, value in {"TILE": TILE, "MOMENTS": MOMENTS, **{name: f"{x}f" for name, x in numbers.items()}}.items():
        code = re.sub(rf"\b{name}\b", str(value), code)
    return code


# Beyond a squared distance of 12 even full opacity gives less than MIN_ALPHA. For 0 <= squared <= 12 exp(-squared / 2)
# is a minimax polynomial of exp(-squared / 32) to the power 16, which adds 3e-8 to the relative error, rounding up to
# 2e-6. Pixels that are finished have transmittance 0.
_EACH_ROW = """
    typedef float floats __attribute__((ext_vector_type(TILE)));
    typedef int ints __attribute__((ext_vector_type(TILE)));
    const floats ramp = RAMP;
    const int bytes = sizeof(floats);
    const float first = splat.corner[0] + (left - box[0]);
    const int end = box[3] < top + TILE ? box[3] : top + TILE;
    for (int y = box[2] > top ? box[2] : top; y < end; ++y) {
        const int row = y - top;
        const float offset = splat.corner[1] + (y - box[2]);
        const float along = splat.along * offset;
        const float start = splat.across * first + splat.shear * offset;
        const float stop = start + (TILE - 1) * splat.across;
        const float room = splat.reach - along * along;
        if ((start > 0.0f && start * start > room) || (stop < 0.0f && stop * stop > room))
            continue;  // alpha is below MIN_ALPHA in all pixels

        const floats across = splat.across * ramp + start;
        const floats squared = across * across + along * along;
        const floats x = (squared < 12.0f ? squared : floats(12.0f)) * (-1.0f / 32.0f);
        floats p = x * 0.006899906788f + 0.041072152555f;
        p = p * x + 0.166550531983f;
        p = p * x + 0.499989598989f;
        p = p * x + 0.999999642372f;
        p = p * x + 1.0f;
        p *= p;
        p *= p;
        p *= p;
        const floats full = splat.opacity * (p * p);
        const floats alpha = full < MAX_ALPHA ? full : floats(MAX_ALPHA);

        floats light;
        __builtin_memcpy(&light, &transmittance.data[row], bytes);
        const ints seen = alpha >= MIN_ALPHA;
        floats weight = seen ? alpha * light : floats(0.0f);
        light -= weight;
        const ints open = light > MIN_TRANSMITTANCE;
        weight = open ? weight : floats(0.0f);
        light = open ? light : floats(0.0f);
        __builtin_memcpy(&transmittance.data[row], &light, bytes);
"""

_BLEND = """
        const float values[5] = {splat.color[0], splat.color[1], splat.color[2], splat.depth, 1.0f};
        for (int channel = 0; channel < 5; ++channel) {
            floats sum;
            __builtin_memcpy(&sum, &images.data[5 * row + channel], bytes);
            sum += values[channel] * weight;
            __builtin_memcpy(&images.data[5 * row + channel], &sum, bytes);
        }
    }
"""


@wp.func_native(_filled(_EACH_ROW + _BLEND))
def blend_splat(
    splat: Splat,
    box: wp.vec4i,
    left: int,
    top: int,
    transmittance: wp.array(dtype=Pixels),
    images: wp.array(dtype=Pixels),
):
    """Add a splat to the tile whose first pixel is (``left``, ``top``).

    Args:
        box: bounds of the splat.
        transmittance: of each row of the tile, 0 where a pixel is finished.
        images: red, green, blue, depth and alpha of the first row, then of the next.
    """


_DIFFERENTIATE = """
        floats gradient[5];
        __builtin_memcpy(gradient, &gradients.data[6 * row], 5 * bytes);
        floats behind;
        __builtin_memcpy(&behind, &gradients.data[6 * row + 5], bytes);
        const floats value = weight * (splat.color[0] * gradient[0] + splat.color[1] * gradient[1] +
            splat.color[2] * gradient[2] + splat.depth * gradient[3] + gradient[4]);
        behind -= value;
        __builtin_memcpy(&gradients.data[6 * row + 5], &behind, bytes);
        floats change = value - alpha * behind / (1.0f - alpha);
        change = ((weight > 0.0f) & (full < MAX_ALPHA)) ? change : floats(0.0f);
        h += change;
        hy += offset * change;
        hyy += offset * offset * change;
        for (int channel = 0; channel < 4; ++channel)
            colors[channel] += weight * gradient[channel];
    }
    const floats x = ramp + first;
    const floats hx = h * x;
    const floats sums[MOMENTS] = {h, hx, hy, hx * x, hy * x, hyy, colors[0], colors[1], colors[2], colors[3]};
    for (int k = 0; k < MOMENTS; ++k) {
        const auto eight = sums[k].lo + sums[k].hi;
        const auto four = eight.lo + eight.hi;
        moments.data[moments.shape[1] * index + k] += (four.x + four.z) + (four.y + four.w);
    }
"""


_SUMS = """
    typedef float channels __attribute__((ext_vector_type(TILE)));
    channels h = 0.0f, hy = 0.0f, hyy = 0.0f, colors[4] = {0.0f, 0.0f, 0.0f, 0.0f};
"""


@wp.func_native(_filled(_SUMS + _EACH_ROW + _DIFFERENTIATE))
def differentiate_splat(
    splat: Splat,
    box: wp.vec4i,
    left: int,
    top: int,
    transmittance: wp.array(dtype=Pixels),
    gradients: wp.array(dtype=Pixels),
    index: int,
    moments: wp.array2d(dtype=wp.float32),
):
    """Add the moments of a splat in the tile whose first pixel is (``left``, ``top``) to row ``index``.

    Args:
        box: bounds of the splat.
        transmittance: of each row of the tile, 0 where a pixel is finished.
        gradients: of red, green, blue, depth and alpha, and the value of what is behind, of the first row and so on.
    """


_ANY_LIGHT = """
    typedef int ints __attribute__((ext_vector_type(TILE)));
    ints bits = 0;
    for (int row = 0; row < TILE; ++row) {
        ints more;
        __builtin_memcpy(&more, &transmittance.data[row], sizeof(ints));
        bits |= more;
    }
    return __builtin_reduce_or(bits) == 0;
"""


@wp.func_native(_filled(_ANY_LIGHT))
def is_finished(transmittance: wp.array(dtype=Pixels)) -> bool:
    """Return whether the transmittance of every pixel of a tile is 0."""

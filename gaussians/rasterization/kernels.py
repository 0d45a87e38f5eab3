"""Draw Gaussians with Warp kernels: ``project`` turns them into splats, ``draw_band`` blends these into pixels.

Covariances and projection run in double precision, because the determinant of a long thin splat's covariance cancels;
blending runs in single precision on vectors of 16 pixels, one row of a tile, which the compiler maps to SIMD registers.
"""

# mypy: ignore-errors

import warp as wp

from gaussians.rasterization.image_model import BLUR, GUARD_BAND, MIN_ALPHA
from gaussians.rasterization.tile_blending import IMAGES, TILE, Pixels, Splat, blend_splat, is_finished

wp.set_module_options({"enable_backward": False})

CHECK_INTERVAL = 8
"""The number of splats between two checks whether a tile is finished."""

Covariance = wp.types.vector(6, wp.float64)

_BLUR = wp.constant(wp.float64(BLUR))


@wp.struct
class Camera:
    """A ``Camera`` takes x in the world to rotation x + translation; focal lengths and centre are in pixels."""

    rotation: wp.mat33d
    translation: wp.vec3d
    position: wp.vec3d
    focal: wp.vec2d
    center: wp.vec2d
    width: wp.int32
    height: wp.int32


@wp.kernel
def covariance_from_scales(
    first: int,
    scales: wp.array[wp.vec3f],
    quaternions: wp.array[wp.vec4f],
    covariances: wp.array[Covariance],
):
    """Write R diag(s^2) R^T as xx, xy, xz, yy, yz, zz."""
    i = first + wp.tid()
    q = wp.normalize(wp.vec4d(quaternions[i]))
    axes = wp.quat_to_matrix(wp.quatd(q[1], q[2], q[3], q[0])) * wp.diag(wp.vec3d(scales[i]))
    c = axes * wp.transpose(axes)
    covariances[i] = Covariance(c[0, 0], c[0, 1], c[0, 2], c[1, 1], c[1, 2], c[2, 2])


@wp.func
def sh_color(sh: wp.array2d[wp.vec3f], row: int, degree: int, direction: wp.vec3f) -> wp.vec3f:
    """Return the colour of Gaussian ``row`` along the unit ``direction``, as ``spherical_harmonics.sh_to_rgb`` does."""
    x, y, z = direction[0], direction[1], direction[2]
    color = wp.vec3f(0.5) + 0.28209479177387814 * sh[row, 0]
    if degree >= 1:
        color += 0.4886025119029199 * (z * sh[row, 2] - y * sh[row, 1] - x * sh[row, 3])
    if degree >= 2:
        color += 1.0925484305920792 * (x * y * sh[row, 4] - y * z * sh[row, 5] - x * z * sh[row, 7])
        color += 0.31539156525252005 * (3.0 * z * z - 1.0) * sh[row, 6]
        color += 0.5462742152960396 * (x * x - y * y) * sh[row, 8]
    if degree >= 3:
        color -= 0.5900435899266435 * (y * (3.0 * x * x - y * y) * sh[row, 9] + x * (x * x - 3.0 * y * y) * sh[row, 15])
        color += 2.890611442640554 * (x * y * z) * sh[row, 10]
        color -= 0.4570457994644658 * (5.0 * z * z - 1.0) * (y * sh[row, 11] + x * sh[row, 13])
        color += 0.3731763325901154 * (z * (5.0 * z * z - 3.0)) * sh[row, 12]
        color += 1.445305721320277 * (z * (x * x - y * y)) * sh[row, 14]
    return wp.max(color, wp.vec3f(0.0))


@wp.func
def guarded_slope(slope: wp.float64, focal: wp.float64, center: wp.float64, size: int) -> wp.float64:
    """Return the slope x / z, held within the image's edges and the guard band outside them."""
    margin = wp.float64(GUARD_BAND) * wp.float64(0.5) * wp.float64(size) / focal
    return wp.clamp(slope, -center / focal - margin, (wp.float64(size) - center) / focal + margin)


@wp.func
def screen_jacobian(camera: Camera, z: wp.float64, slope_x: wp.float64, slope_y: wp.float64):
    """Return both rows of the projection's Jacobian times the rotation."""
    right, down, forward = camera.rotation[0], camera.rotation[1], camera.rotation[2]
    return (camera.focal[0] / z) * (right - slope_x * forward), (camera.focal[1] / z) * (down - slope_y * forward)


@wp.func
def screen_covariance(covariance: wp.mat33d, jx: wp.vec3d, jy: wp.vec3d) -> wp.mat22d:
    """Return the covariance of a splat, pixels^2."""
    cov = wp.dot(jx, covariance * jy)
    return wp.mat22d(wp.dot(jx, covariance * jx) + _BLUR, cov, cov, wp.dot(jy, covariance * jy) + _BLUR)


@wp.func
def first_pixel(edge: wp.float64, size: int) -> int:
    """Return the first pixel whose centre is at or after ``edge``, held within 0 .. size."""
    return int(wp.clamp(wp.ceil(edge - wp.float64(0.5)), wp.float64(0.0), wp.float64(size)))


@wp.kernel
def project(
    first: int,
    order: wp.array[wp.int64],
    means: wp.array[wp.vec3f],
    opacities: wp.array[wp.float32],
    covariances: wp.array[Covariance],
    sh: wp.array2d[wp.vec3f],
    degree: int,
    camera: Camera,
    radius_clip: float,
    splats: wp.array[Splat],
    bounds: wp.array[wp.vec4i],
):
    """Project Gaussian ``order[i]`` to ``splats[i]`` (EWA, Zwicker et al. 2001), and bound the pixels it can touch.

    A splat's ``bounds`` are first column, end of columns, first row, end of rows; empty if it is not drawn.
    """
    i = first + wp.tid()
    row = wp.int32(order[i])
    bounds[i] = wp.vec4i()

    world = wp.vec3d(means[row])
    mean = camera.rotation * world + camera.translation
    slope_x, slope_y = mean[0] / mean[2], mean[1] / mean[2]
    mean_x = camera.focal[0] * slope_x + camera.center[0]
    mean_y = camera.focal[1] * slope_y + camera.center[1]
    held_x = guarded_slope(slope_x, camera.focal[0], camera.center[0], camera.width)
    held_y = guarded_slope(slope_y, camera.focal[1], camera.center[1], camera.height)

    jx, jy = screen_jacobian(camera, mean[2], held_x, held_y)
    c = covariances[row]
    covariance = wp.mat33d(c[0], c[1], c[2], c[1], c[3], c[4], c[2], c[4], c[5])
    screen = screen_covariance(covariance, jx, jy)
    var_x, cov, var_y = screen[0, 0], screen[0, 1], screen[1, 1]
    determinant = var_x * var_y - cov * cov
    numbers = wp.isfinite(mean_x) and wp.isfinite(mean_y) and wp.isfinite(determinant)
    if not numbers or determinant <= wp.float64(0.0) or var_x <= wp.float64(0.0):
        return

    opacity = opacities[row]
    reach = wp.float64(2.0) * wp.log(wp.float64(opacity) / wp.float64(MIN_ALPHA))
    radius_x, radius_y = wp.sqrt(reach * var_x), wp.sqrt(reach * var_y)
    if wp.max(wp.ceil(radius_x), wp.ceil(radius_y)) <= wp.float64(radius_clip):
        return

    left, top = first_pixel(mean_x - radius_x, camera.width), first_pixel(mean_y - radius_y, camera.height)
    half = wp.float64(0.5)
    splat = Splat()
    splat.corner = wp.vec2f(wp.vec2d(wp.float64(left) + half - mean_x, wp.float64(top) + half - mean_y))
    splat.across = wp.float32(wp.sqrt(var_y / determinant))
    splat.shear = wp.float32(-cov / wp.sqrt(var_y * determinant))
    splat.along = wp.float32(wp.float64(1.0) / wp.sqrt(var_y))
    splat.opacity = opacity
    splat.reach = wp.float32(reach)
    splat.depth = wp.float32(mean[2])
    splat.color = sh_color(sh, row, degree, wp.vec3f(wp.normalize(world - camera.position)))
    splats[i] = splat
    bounds[i] = wp.vec4i(
        left, first_pixel(mean_x + radius_x, camera.width), top, first_pixel(mean_y + radius_y, camera.height)
    )


@wp.kernel
def draw_band(
    top: int,
    splats: wp.array[Splat],
    bounds: wp.array[wp.vec4i],
    selected: wp.array[wp.int64],
    background: wp.vec3f,
    rgb: wp.array2d[wp.vec3f],
    depth: wp.array2d[wp.float32],
    alpha: wp.array2d[wp.float32],
):
    """Blend the ``selected`` splats, front to back, into the TILE rows of pixels from ``top`` on."""
    width, height = rgb.shape[1], rgb.shape[0]
    bottom = wp.min(top + TILE, height)

    transmittance = wp.zeros(shape=(TILE,), dtype=Pixels)
    images = wp.zeros(shape=(IMAGES,), dtype=Pixels)

    for left in range(0, width, TILE):
        for y in range(TILE):
            transmittance[y] = Pixels(wp.where(top + y < height, 1.0, 0.0))
        for k in range(IMAGES):
            images[k] = Pixels()

        drawn = wp.int32(0)
        for j in range(selected.shape[0]):
            i = wp.int32(selected[j])
            box = bounds[i]
            if box[0] >= left + TILE or box[1] <= left:
                continue
            blend_splat(splats[i], box, left, top, transmittance, images)
            drawn += 1
            if drawn % CHECK_INTERVAL == 0 and is_finished(transmittance):
                break

        for y in range(bottom - top):
            for x in range(wp.min(TILE, width - left)):
                c = images[5 * y + 4][x]
                color = wp.vec3f(images[5 * y][x], images[5 * y + 1][x], images[5 * y + 2][x])
                rgb[top + y, left + x] = color + (1.0 - c) * background
                depth[top + y, left + x] = images[5 * y + 3][x]
                alpha[top + y, left + x] = c

"""Differentiate what ``kernels`` draws: ``blend_gradient`` goes from pixels to splats, the others on to Gaussians.

With T what is left of the light before a splat, its weight in a pixel is w = alpha T. Let v be the value of one unit of
that weight, sum over channels of gradient times colour. The loss changes with alpha by T v - (sum of w v over all
splats behind) / (1 - alpha), and that sum is the pixel's total, known from its drawn colour, minus what is in front
(Kerbl et al. 2023, without their division of T by each 1 - alpha on the way back).
"""

# mypy: ignore-errors

import warp as wp

from gaussians.rasterization.kernels import (
    CHECK_INTERVAL,
    Camera,
    Covariance,
    guarded_slope,
    screen_covariance,
    screen_jacobian,
    sh_color,
)
from gaussians.rasterization.tile_blending import GRADIENTS, TILE, Pixels, Splat, differentiate_splat, is_finished

wp.set_module_options({"enable_backward": False})


@wp.kernel
def blend_gradient(
    top: int,
    splats: wp.array[Splat],
    bounds: wp.array[wp.vec4i],
    selected: wp.array[wp.int64],
    rgb_gradient: wp.array2d[wp.vec3f],
    depth_gradient: wp.array2d[wp.float32],
    alpha_gradient: wp.array2d[wp.float32],
    totals: wp.array2d[wp.float32],
    moments: wp.array2d[wp.float32],
):
    """Add the moments of the ``selected`` splats, front to back, over the TILE rows of pixels from ``top`` on."""
    width, height = totals.shape[1], totals.shape[0]
    bottom = wp.min(top + TILE, height)

    transmittance = wp.zeros(shape=(TILE,), dtype=Pixels)
    gradients = wp.zeros(shape=(GRADIENTS,), dtype=Pixels)

    for left in range(0, width, TILE):
        for y in range(TILE):
            transmittance[y] = Pixels()
        for y in range(bottom - top):
            light, behind = Pixels(), Pixels()
            red, green, blue = Pixels(), Pixels(), Pixels()
            far, cover = Pixels(), Pixels()
            for x in range(wp.min(TILE, width - left)):
                color = rgb_gradient[top + y, left + x]
                light[x] = 1.0
                red[x] = color[0]
                green[x] = color[1]
                blue[x] = color[2]
                far[x] = depth_gradient[top + y, left + x]
                cover[x] = alpha_gradient[top + y, left + x]
                behind[x] = totals[top + y, left + x]
            transmittance[y] = light
            gradients[6 * y] = red
            gradients[6 * y + 1] = green
            gradients[6 * y + 2] = blue
            gradients[6 * y + 3] = far
            gradients[6 * y + 4] = cover
            gradients[6 * y + 5] = behind

        drawn = wp.int32(0)
        for j in range(selected.shape[0]):
            i = wp.int32(selected[j])
            box = bounds[i]
            if box[0] >= left + TILE or box[1] <= left:
                continue
            differentiate_splat(splats[i], box, left, top, transmittance, gradients, j, moments)
            drawn += 1
            if drawn % CHECK_INTERVAL == 0 and is_finished(transmittance):
                break


@wp.func
def sh_gradient(
    sh: wp.array2d[wp.vec3f],
    row: int,
    degree: int,
    direction: wp.vec3f,
    color_gradient: wp.vec3f,
    sh_gradients: wp.array2d[wp.vec3f],
) -> wp.vec3f:
    """Add to the gradients of the coefficients of ``row``; return the one of the direction, taken as free."""
    x, y, z = direction[0], direction[1], direction[2]
    sh_gradients[row, 0] += 0.28209479177387814 * color_gradient
    turned = wp.vec3f()
    if degree >= 1:
        g = 0.4886025119029199 * color_gradient
        sh_gradients[row, 1] -= y * g
        sh_gradients[row, 2] += z * g
        sh_gradients[row, 3] -= x * g
        turned += wp.vec3f(-wp.dot(sh[row, 3], g), -wp.dot(sh[row, 1], g), wp.dot(sh[row, 2], g))
    if degree >= 2:
        g = 1.0925484305920792 * color_gradient
        b = 0.31539156525252005 * color_gradient
        c = 0.5462742152960396 * color_gradient
        sh_gradients[row, 4] += (x * y) * g
        sh_gradients[row, 5] -= (y * z) * g
        sh_gradients[row, 6] += (3.0 * z * z - 1.0) * b
        sh_gradients[row, 7] -= (x * z) * g
        sh_gradients[row, 8] += (x * x - y * y) * c
        s4, s5, s6 = wp.dot(sh[row, 4], g), wp.dot(sh[row, 5], g), wp.dot(sh[row, 6], b)
        s7, s8 = wp.dot(sh[row, 7], g), wp.dot(sh[row, 8], c)
        turned += wp.vec3f(
            s4 * y - s7 * z + 2.0 * s8 * x, s4 * x - s5 * z - 2.0 * s8 * y, 6.0 * s6 * z - s5 * y - s7 * x
        )
    if degree >= 3:
        ga = 0.5900435899266435 * color_gradient
        gb = 2.890611442640554 * color_gradient
        gc = 0.4570457994644658 * color_gradient
        gd = 0.3731763325901154 * color_gradient
        ge = 1.445305721320277 * color_gradient
        xx, yy, zz = x * x, y * y, z * z
        sh_gradients[row, 9] -= (y * (3.0 * xx - yy)) * ga
        sh_gradients[row, 10] += (x * y * z) * gb
        sh_gradients[row, 11] -= (y * (5.0 * zz - 1.0)) * gc
        sh_gradients[row, 12] += (z * (5.0 * zz - 3.0)) * gd
        sh_gradients[row, 13] -= (x * (5.0 * zz - 1.0)) * gc
        sh_gradients[row, 14] += (z * (xx - yy)) * ge
        sh_gradients[row, 15] -= (x * (xx - 3.0 * yy)) * ga
        s9, s10, s11 = wp.dot(sh[row, 9], ga), wp.dot(sh[row, 10], gb), wp.dot(sh[row, 11], gc)
        s12, s13, s14 = wp.dot(sh[row, 12], gd), wp.dot(sh[row, 13], gc), wp.dot(sh[row, 14], ge)
        s15 = wp.dot(sh[row, 15], ga)
        turned += wp.vec3f(
            s10 * y * z - 6.0 * s9 * x * y - s13 * (5.0 * zz - 1.0) + 2.0 * s14 * x * z - 3.0 * s15 * (xx - yy),
            s10 * x * z - 3.0 * s9 * (xx - yy) - s11 * (5.0 * zz - 1.0) - 2.0 * s14 * y * z + 6.0 * s15 * x * y,
            s10 * x * y - 10.0 * s11 * y * z + s12 * (15.0 * zz - 3.0) - 10.0 * s13 * x * z + s14 * (xx - yy),
        )
    return turned


@wp.kernel
def project_gradient(
    first: int,
    order: wp.array[wp.int64],
    means: wp.array[wp.vec3f],
    opacities: wp.array[wp.float32],
    covariances: wp.array[Covariance],
    sh: wp.array2d[wp.vec3f],
    degree: int,
    camera: Camera,
    bounds: wp.array[wp.vec4i],
    moments: wp.array2d[wp.float32],
    mean_gradients: wp.array[wp.vec3f],
    opacity_gradients: wp.array[wp.float32],
    covariance_gradients: wp.array[Covariance],
    sh_gradients: wp.array2d[wp.vec3f],
):
    """Add the gradients of Gaussian ``order[i]``, given the moments of its splat ``i``."""
    i = first + wp.tid()
    row = wp.int32(order[i])
    box = bounds[i]
    if box[0] >= box[1] or box[2] >= box[3]:
        return
    opacity_gradients[row] += moments[i, 0] / opacities[row]

    two = wp.float64(2.0)
    world = wp.vec3d(means[row])
    mean = camera.rotation * world + camera.translation
    z = mean[2]
    slope_x, slope_y = mean[0] / z, mean[1] / z
    held_x = guarded_slope(slope_x, camera.focal[0], camera.center[0], camera.width)
    held_y = guarded_slope(slope_y, camera.focal[1], camera.center[1], camera.height)
    jx, jy = screen_jacobian(camera, z, held_x, held_y)
    c = covariances[row]
    covariance = wp.mat33d(c[0], c[1], c[2], c[1], c[3], c[4], c[2], c[4], c[5])
    screen = screen_covariance(covariance, jx, jy)
    inverse = wp.inverse(screen)

    moved = inverse * wp.vec2d(wp.float64(moments[i, 1]), wp.float64(moments[i, 2]))  # gradient of the mean, in pixels
    hxx, hxy, hyy = wp.float64(moments[i, 3]), wp.float64(moments[i, 4]), wp.float64(moments[i, 5])
    # -1/2 (hxx hxy; hxy hyy) is the gradient of the inverse, and d(S^-1) = -S^-1 dS S^-1.
    spread = inverse * wp.mat22d(hxx, hxy, hxy, hyy) * inverse / two
    vx, vy = covariance * jx, covariance * jy
    x_gradient = two * (spread[0, 0] * vx + spread[0, 1] * vy)  # of jx
    y_gradient = two * (spread[0, 1] * vx + spread[1, 1] * vy)  # of jy
    forward = camera.rotation[2]
    slope_x_gradient, slope_y_gradient = camera.focal[0] * moved[0], camera.focal[1] * moved[1]
    if held_x == slope_x:
        slope_x_gradient -= camera.focal[0] / z * wp.dot(x_gradient, forward)
    if held_y == slope_y:
        slope_y_gradient -= camera.focal[1] / z * wp.dot(y_gradient, forward)
    # jx and jy are 1 / z times something.
    z_gradient = wp.float64(moments[i, 9]) - (wp.dot(x_gradient, jx) + wp.dot(y_gradient, jy)) / z
    z_gradient -= (slope_x_gradient * slope_x + slope_y_gradient * slope_y) / z
    local = wp.vec3d(slope_x_gradient / z, slope_y_gradient / z, z_gradient)
    world_gradient = wp.transpose(camera.rotation) * local

    full = spread[0, 0] * wp.outer(jx, jx) + spread[1, 1] * wp.outer(jy, jy)
    full += spread[0, 1] * (wp.outer(jx, jy) + wp.outer(jy, jx))
    covariance_gradients[row] += Covariance(
        full[0, 0], two * full[0, 1], two * full[0, 2], full[1, 1], two * full[1, 2], full[2, 2]
    )

    ray = world - camera.position
    direction = wp.vec3f(wp.normalize(ray))
    color = sh_color(sh, row, degree, direction)
    color_gradient = wp.vec3f(moments[i, 6], moments[i, 7], moments[i, 8])
    for k in range(3):
        if color[k] <= 0.0:
            color_gradient[k] = 0.0
    turned = sh_gradient(sh, row, degree, direction, color_gradient, sh_gradients)
    turned -= wp.dot(turned, direction) * direction
    mean_gradients[row] += wp.vec3f(world_gradient) + turned / wp.float32(wp.length(ray))


@wp.kernel
def covariance_gradient(
    first: int,
    scales: wp.array[wp.vec3f],
    quaternions: wp.array[wp.vec4f],
    covariance_gradients: wp.array[Covariance],
    scale_gradients: wp.array[wp.vec3f],
    quaternion_gradients: wp.array[wp.vec4f],
):
    """Write the gradients of scales and quaternions, given those of the covariance R diag(s^2) R^T."""
    i = first + wp.tid()
    g = covariance_gradients[i]
    if wp.dot(g, g) == wp.float64(0.0):  # not drawn, perhaps for want of a shape
        scale_gradients[i] = wp.vec3f()
        quaternion_gradients[i] = wp.vec4f()
        return
    two, half = wp.float64(2.0), wp.float64(0.5)
    raw = wp.vec4d(quaternions[i])
    length = wp.length(raw)
    q = raw / length
    s = wp.vec3d(scales[i])
    rotation = wp.quat_to_matrix(wp.quatd(q[1], q[2], q[3], q[0]))
    full = wp.mat33d(g[0], half * g[1], half * g[2], half * g[1], g[3], half * g[4], half * g[2], half * g[4], g[5])
    axes = two * (full * (rotation * wp.diag(s)))  # gradient of R diag(s)
    scale_gradients[i] = wp.vec3f(
        wp.vec3d(
            wp.dot(wp.transpose(axes)[0], wp.transpose(rotation)[0]),
            wp.dot(wp.transpose(axes)[1], wp.transpose(rotation)[1]),
            wp.dot(wp.transpose(axes)[2], wp.transpose(rotation)[2]),
        )
    )
    r = axes * wp.diag(s)  # gradient of R
    w, x, y, z = q[0], q[1], q[2], q[3]
    unit = two * wp.vec4d(
        x * (r[2, 1] - r[1, 2]) + y * (r[0, 2] - r[2, 0]) + z * (r[1, 0] - r[0, 1]),
        w * (r[2, 1] - r[1, 2]) + y * (r[0, 1] + r[1, 0]) + z * (r[0, 2] + r[2, 0]) - two * x * (r[1, 1] + r[2, 2]),
        w * (r[0, 2] - r[2, 0]) + x * (r[0, 1] + r[1, 0]) + z * (r[1, 2] + r[2, 1]) - two * y * (r[0, 0] + r[2, 2]),
        w * (r[1, 0] - r[0, 1]) + x * (r[0, 2] + r[2, 0]) + y * (r[1, 2] + r[2, 1]) - two * z * (r[0, 0] + r[1, 1]),
    )
    quaternion_gradients[i] = wp.vec4f((unit - wp.dot(unit, q) * q) / length)

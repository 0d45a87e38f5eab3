"""Kernels of one MLS-MPM substep (Hu et al., "A moving least squares material point method", 2018).

Particles carry an affine velocity field (APIC, Jiang et al. 2015) and reach the 27 nearest nodes through quadratic
B-splines. The grid is a flat array of (momentum, mass), later (velocity, mass), in 4^3 blocks; ``touched`` lists the
blocks with particles near them, all others hold zeros.
"""

# mypy: ignore-errors

from functools import cache

import warp as wp

from dataset.mpm.boundary_conditions import GRID_CONDITIONS, PARTICLE_CONDITIONS, ConditionStruct
from dataset.mpm.constitutive_laws import LAWS
from dataset.mpm.lattice import LatticeStruct
from dataset.mpm.polar import polar_rotation

wp.set_module_options({"enable_backward": False})

vec6 = wp.types.vector(length=6, dtype=float)

# An inverse determinant of the quadratic B-spline's inertia: D^-1 = 4 / dx^2 (Jiang et al. 2015).
_INVERSE_INERTIA = wp.constant(4.0)


@wp.func_native("""
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    // One vector reduction instead of four scalar ones.
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                 :: "l"(&grid[index]), "f"(value[0]), "f"(value[1]), "f"(value[2]), "f"(value[3]) : "memory");
#else
    wp::atomic_add(&grid[index], value);
#endif
""")
def add_to_node(grid: wp.array(dtype=wp.vec4), index: int, value: wp.vec4): ...


@wp.func
def coordinates(lattice: LatticeStruct, x: wp.vec3) -> wp.vec3:
    return (x - lattice.origin) * lattice.inverse_dx


@wp.func
def is_inside(lattice: LatticeStruct, c: wp.vec3) -> bool:
    """Whether all 27 nodes exist; false for NaN, so that no particle ever reaches outside the arrays."""
    low = wp.min(c) >= 0.5
    high = wp.max(c) < float(lattice.nodes) - 1.5
    return low and high and c[0] == c[0] and c[1] == c[1] and c[2] == c[2]


@wp.func
def first_node(c: wp.vec3) -> wp.vec3i:
    return wp.vec3i(int(c[0] - 0.5), int(c[1] - 0.5), int(c[2] - 0.5))


@wp.func
def spline(f: float) -> wp.vec3:
    """Weights of the three nodes along an axis; f, 0.5 to 1.5, is the distance from the first in cells."""
    a = 1.5 - f
    b = f - 1.0
    c = f - 0.5
    return wp.vec3(0.5 * a * a, 0.75 - b * b, 0.5 * c * c)


@wp.func
def along(i: int, block_stride: int, node_stride: int) -> int:
    """One axis' share of a node's place in memory."""
    return (i >> 2) * block_stride + (i & 3) * node_stride


@wp.func
def offsets_along(i: int, block_stride: int, node_stride: int) -> wp.vec3i:
    return wp.vec3i(
        along(i, block_stride, node_stride),
        along(i + 1, block_stride, node_stride),
        along(i + 2, block_stride, node_stride),
    )


@wp.func
def mark(
    block: int,
    marked: wp.array(dtype=int),
    touched: wp.array(dtype=int),
    touched_count: wp.array(dtype=int),
):
    if marked[block] == 0 and wp.atomic_exch(marked, block, 1) == 0:
        touched[wp.atomic_add(touched_count, 0, 1)] = block


@wp.kernel
def mark_blocks(
    lattice: LatticeStruct,
    x: wp.array(dtype=wp.vec3),
    marked: wp.array(dtype=int),
    touched: wp.array(dtype=int),
    touched_count: wp.array(dtype=int),
):
    """List every block that holds one of a particle's 27 nodes, once."""
    c = coordinates(lattice, x[wp.tid()])
    if not is_inside(lattice, c):
        return
    first = first_node(c)
    side = lattice.blocks
    low_x = (first[0] >> 2) * side * side
    high_x = ((first[0] + 2) >> 2) * side * side
    low_y = (first[1] >> 2) * side
    high_y = ((first[1] + 2) >> 2) * side
    low_z = first[2] >> 2
    high_z = (first[2] + 2) >> 2
    # The blocks at the eight corners, with repetitions. Nearly always a neighbour has marked them before: one test
    # without branches in between answers that.
    b0 = low_x + low_y + low_z
    b1 = low_x + low_y + high_z
    b2 = low_x + high_y + low_z
    b3 = low_x + high_y + high_z
    b4 = high_x + low_y + low_z
    b5 = high_x + low_y + high_z
    b6 = high_x + high_y + low_z
    b7 = high_x + high_y + high_z
    lower = marked[b0] & marked[b1] & marked[b2] & marked[b3]
    upper = marked[b4] & marked[b5] & marked[b6] & marked[b7]
    if (lower & upper) == 1:
        return
    mark(b0, marked, touched, touched_count)
    mark(b1, marked, touched, touched_count)
    mark(b2, marked, touched, touched_count)
    mark(b3, marked, touched, touched_count)
    mark(b4, marked, touched, touched_count)
    mark(b5, marked, touched, touched_count)
    mark(b6, marked, touched, touched_count)
    mark(b7, marked, touched, touched_count)


@wp.kernel
def clear_blocks(
    threads: int,
    marked: wp.array(dtype=int),
    touched: wp.array(dtype=int),
    touched_count: wp.array(dtype=int),
    grid: wp.array(dtype=wp.vec4),
):
    """Zero the nodes of the touched blocks and forget their marks."""
    node = wp.tid()
    count = touched_count[0] * 64
    while node < count:
        block = touched[node >> 6]
        grid[block * 64 + (node & 63)] = wp.vec4()
        marked[block] = 0
        node += threads


def is_plastic(laws: tuple[str, ...]) -> bool:
    """Whether any of these materials flows, so that the state must keep the whole deformation too."""
    return any(LAWS[name].return_mapping is not None for name in laws)


@cache
def particles_to_grid(laws: tuple[str, ...]) -> wp.Kernel:
    """The kernel that adds momentum, stress and mass of the particles to the grid, for these materials."""
    stresses = tuple(LAWS[name].stress for name in laws)
    plastic = is_plastic(laws)

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(
        lattice: LatticeStruct,
        dt: float,
        x: wp.array(dtype=wp.vec3),
        v: wp.array(dtype=wp.vec3),
        C: wp.array(dtype=wp.mat33),
        F: wp.array(dtype=wp.mat33),
        mass: wp.array(dtype=float),
        volume: wp.array(dtype=float),
        mu: wp.array(dtype=float),
        lam: wp.array(dtype=float),
        law: wp.array(dtype=int),
        history: wp.array(dtype=float),
        grid: wp.array(dtype=wp.vec4),
    ):
        p = wp.tid()
        c = coordinates(lattice, x[p])
        if not is_inside(lattice, c):
            return
        past = float(0.0)
        if wp.static(plastic):
            past = history[p]
        tau = wp.mat33()
        for i in range(wp.static(len(stresses))):
            if law[p] == i:
                tau = wp.static(stresses[i])(F[p], past, mu[p], lam[p])
        m = mass[p]
        scale = dt * volume[p] * _INVERSE_INERTIA * lattice.inverse_dx * lattice.inverse_dx
        # The velocity field m (v + C (x_i - x)) with the stress' impulse, per cell of distance.
        A = (m * C[p] - scale * tau) * lattice.dx

        first = first_node(c)
        f = c - wp.vec3(float(first[0]), float(first[1]), float(first[2]))
        wx = spline(f[0])
        wy = spline(f[1])
        wz = spline(f[2])
        ox = offsets_along(first[0], lattice.blocks * lattice.blocks * 64, 16)
        oy = offsets_along(first[1], lattice.blocks * 64, 4)
        oz = offsets_along(first[2], 64, 1)
        corner = m * v[p] - A * f
        step_x = wp.vec4(A[0, 0], A[1, 0], A[2, 0], 0.0)
        step_y = wp.vec4(A[0, 1], A[1, 1], A[2, 1], 0.0)
        step_z = wp.vec4(A[0, 2], A[1, 2], A[2, 2], 0.0)
        at_corner = wp.vec4(corner[0], corner[1], corner[2], m)
        for i in range(3):
            for j in range(3):
                at_column = at_corner + float(i) * step_x + float(j) * step_y
                weight = wx[i] * wy[j]
                offset = ox[i] + oy[j]
                for k in range(3):
                    add_to_node(grid, offset + oz[k], (weight * wz[k]) * (at_column + float(k) * step_z))

    return kernel


@wp.func
def middle(clock: wp.array(dtype=wp.float64), dt: float) -> float:
    """Of the substep that begins at ``clock``, so that rounding never moves a substep out of its window."""
    return float(clock[0]) + 0.5 * dt


@wp.kernel
def advance_clock(clock: wp.array(dtype=wp.float64), dt: wp.float64, clock_out: wp.array(dtype=wp.float64)):
    clock_out[0] = clock[0] + dt


@cache
def update_grid(conditions: tuple[str, ...]) -> wp.Kernel:
    """The kernel that turns momenta into velocities under gravity and these boundary conditions."""
    functions = tuple(GRID_CONDITIONS[name] for name in conditions)

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(
        lattice: LatticeStruct,
        dt: float,
        threads: int,
        gravity: wp.vec3,
        damping: float,
        settings: wp.array(dtype=ConditionStruct),
        clock: wp.array(dtype=wp.float64),
        touched: wp.array(dtype=int),
        touched_count: wp.array(dtype=int),
        grid: wp.array(dtype=wp.vec4),
    ):
        n = wp.tid()
        time = middle(clock, dt)
        count = touched_count[0] * 64
        while n < count:
            block = touched[n >> 6]
            place = n & 63
            index = block * 64 + place
            value = grid[index]
            m = value[3]
            if m > 0.0:
                velocity = (wp.vec3(value[0], value[1], value[2]) / m + dt * gravity) * damping
                rest = block // lattice.blocks
                node = wp.vec3i(
                    (rest // lattice.blocks) * 4 + (place >> 4),
                    (rest % lattice.blocks) * 4 + ((place >> 2) & 3),
                    (block % lattice.blocks) * 4 + (place & 3),
                )
                for i in range(wp.static(len(functions))):
                    velocity = wp.static(functions[i])(settings[i], lattice, node, velocity, time, dt)
                grid[index] = wp.vec4(velocity[0], velocity[1], velocity[2], m)
            n += threads

    return kernel


@wp.func
def collect(lattice: LatticeStruct, c: wp.vec3, grid: wp.array(dtype=wp.vec4)):
    """Velocity, m/s, and its gradient, 1/s, of the grid at a place in units of nodes."""
    first = first_node(c)
    f = c - wp.vec3(float(first[0]), float(first[1]), float(first[2]))
    wx = spline(f[0])
    wy = spline(f[1])
    wz = spline(f[2])
    ox = offsets_along(first[0], lattice.blocks * lattice.blocks * 64, 16)
    oy = offsets_along(first[1], lattice.blocks * 64, 4)
    oz = offsets_along(first[2], 64, 1)
    # Sums over the nodes of w v, and of w v times the node's distance from the first one along each axis.
    sum_v = wp.vec4()
    sum_x = wp.vec4()
    sum_y = wp.vec4()
    sum_z = wp.vec4()
    for i in range(3):
        plane_v = wp.vec4()
        plane_y = wp.vec4()
        plane_z = wp.vec4()
        for j in range(3):
            offset = ox[i] + oy[j]
            v1 = wz[1] * grid[offset + oz[1]]
            v2 = wz[2] * grid[offset + oz[2]]
            column_v = wz[0] * grid[offset + oz[0]] + v1 + v2
            plane_v += wy[j] * column_v
            plane_y += (wy[j] * float(j)) * column_v
            plane_z += wy[j] * (v1 + 2.0 * v2)
        sum_v += wx[i] * plane_v
        sum_x += (wx[i] * float(i)) * plane_v
        sum_y += wx[i] * plane_y
        sum_z += wx[i] * plane_z
    s = _INVERSE_INERTIA * lattice.inverse_dx
    gx = s * (sum_x - f[0] * sum_v)
    gy = s * (sum_y - f[1] * sum_v)
    gz = s * (sum_z - f[2] * sum_v)
    gradient = wp.mat33(gx[0], gy[0], gz[0], gx[1], gy[1], gz[1], gx[2], gy[2], gz[2])
    return wp.vec3(sum_v[0], sum_v[1], sum_v[2]), gradient


@cache
def grid_to_particles(laws: tuple[str, ...]) -> wp.Kernel:
    """The kernel that collects velocity and its gradient, moves the particles and deforms them, for these materials.

    F <- (I + dt grad v) F, and for plastic materials then the return mapping; ``total`` goes without it.
    """
    plastic = is_plastic(laws)
    flowing = tuple((i, LAWS[name].return_mapping) for i, name in enumerate(laws) if LAWS[name].return_mapping)

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(
        lattice: LatticeStruct,
        dt: float,
        symmetric_kept: float,
        skew_kept: float,
        grid: wp.array(dtype=wp.vec4),
        x: wp.array(dtype=wp.vec3),
        F: wp.array(dtype=wp.mat33),
        total: wp.array(dtype=wp.mat33),
        history: wp.array(dtype=float),
        mu: wp.array(dtype=float),
        lam: wp.array(dtype=float),
        law: wp.array(dtype=int),
        parameters: wp.array(dtype=wp.vec4),
        x_out: wp.array(dtype=wp.vec3),
        v_out: wp.array(dtype=wp.vec3),
        C_out: wp.array(dtype=wp.mat33),
        F_out: wp.array(dtype=wp.mat33),
        total_out: wp.array(dtype=wp.mat33),
        history_out: wp.array(dtype=float),
    ):
        p = wp.tid()
        c = coordinates(lattice, x[p])
        if not is_inside(lattice, c):
            # The frame loop reports it; until then it stays where it is.
            x_out[p] = x[p]
            v_out[p] = wp.vec3()
            C_out[p] = wp.mat33()
            F_out[p] = F[p]
            if wp.static(plastic):
                total_out[p] = total[p]
                history_out[p] = history[p]
            return
        velocity, gradient = collect(lattice, c, grid)
        x_out[p] = x[p] + dt * velocity
        v_out[p] = velocity
        transposed = wp.transpose(gradient)
        C_out[p] = (0.5 * symmetric_kept) * (gradient + transposed) + (0.5 * skew_kept) * (gradient - transposed)
        F_new = F[p] + dt * (gradient * F[p])
        if wp.static(plastic):
            total_out[p] = total[p] + dt * (gradient * total[p])
            past = history[p]
            for i in range(wp.static(len(flowing))):
                if law[p] == wp.static(flowing[i][0]):
                    F_new, past = wp.static(flowing[i][1])(F_new, past, mu[p], lam[p], parameters[p], dt)
            history_out[p] = past
        F_out[p] = F_new

    return kernel


@cache
def update_particles(conditions: tuple[str, ...]) -> wp.Kernel:
    """The kernel that gives particles the velocities of these conditions, and moves them accordingly."""
    functions = tuple(PARTICLE_CONDITIONS[name] for name in conditions)

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(
        dt: float,
        settings: wp.array(dtype=ConditionStruct),
        clock: wp.array(dtype=wp.float64),
        start: wp.array(dtype=wp.vec3),
        mass: wp.array(dtype=float),
        x: wp.array(dtype=wp.vec3),
        v: wp.array(dtype=wp.vec3),
    ):
        p = wp.tid()
        time = middle(clock, dt)
        velocity = v[p]
        for i in range(wp.static(len(functions))):
            velocity = wp.static(functions[i])(settings[i], start[p], mass[p], x[p], velocity, time, dt)
        # x has already moved with the old velocity.
        x[p] = x[p] + dt * (velocity - v[p])
        v[p] = velocity

    return kernel


@wp.kernel
def deform_covariances(
    F: wp.array(dtype=wp.mat33),
    covariance: wp.array(dtype=vec6),
    covariance_out: wp.array(dtype=vec6),
    rotation_out: wp.array(dtype=wp.mat33),
):
    """F cov F^T, packed as xx, xy, xz, yy, yz, zz, and the rotation of the polar decomposition of F."""
    p = wp.tid()
    a = covariance[p]
    A = F[p] * wp.mat33(a[0], a[1], a[2], a[1], a[3], a[4], a[2], a[4], a[5]) * wp.transpose(F[p])
    covariance_out[p] = vec6(A[0, 0], A[0, 1], A[0, 2], A[1, 1], A[1, 2], A[2, 2])
    rotation_out[p] = polar_rotation(F[p])

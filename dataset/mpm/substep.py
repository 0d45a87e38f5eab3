"""This module makes the kernels of a substep (Hu et al., "A moving least squares material point method", 2018).

A substep has two: one for the particles, which takes velocities from the grid, moves and deforms the particles and adds
their momenta and stresses to the grid for the next substep, and one for the grid, which turns momenta into velocities
in the blocks that have particles near them. Substeps take turns with the grid's two counts of such blocks.
"""

# mypy: ignore-errors

from functools import cache

import warp as wp

from dataset.mpm.boundary_conditions import (
    PARTICLE_CONDITIONS,
    SIDES_TOUCHED,
    ConditionStruct,
    first_bit,
    held_velocity,
)
from dataset.mpm.constitutive_laws import LAWS
from dataset.mpm.contact.shared_blocks import SharedBlocksStruct, put_reached, share_block
from dataset.mpm.grid import ExactGridStruct, GridStruct
from dataset.mpm.lattice import (
    BLOCK_BITS,
    NODES_IN_BLOCK,
    blocks_in_layer,
    coordinates,
    first_node,
    is_inside,
    layer_shift,
    node_at,
)
from dataset.mpm.object_forces import ForcesStruct, acceleration
from dataset.mpm.particles import ParticlesStruct, Rows, matrix_in, put_matrix, put_vector, vector_in
from dataset.mpm.transfers import (
    INVERSE_INERTIA,
    Contribution,
    SubstepStruct,
    collect,
    middle,
    scatter_by_particle,
    scatter_by_warp,
    scatter_exactly,
    store_node,
    take,
    take_exactly,
    touch,
)

wp.set_module_options({"enable_backward": False})


@wp.kernel
def advance_clock(clock: wp.array(dtype=wp.float64), duration: wp.float64, clock_out: wp.array(dtype=wp.float64)):
    clock_out[0] = clock[0] + duration


@wp.func
def parameters_in(table: wp.array2d(dtype=float), row: int, t: int) -> wp.vec4:
    return wp.vec4(table[row, t], table[row + 1, t], table[row + 2, t], table[row + 3, t])


@cache
def update_particles(
    rows: Rows,
    laws: tuple[str, ...],
    conditions: tuple[str, ...],
    forced: bool,
    surfaces: tuple[str, ...],
    gather: bool,
    scatter: bool,
    cuda: bool,
    exact: bool,
) -> wp.Kernel:
    """Return the particles' kernel for these materials and conditions of particles.

    F <- (I + dt grad v) F, and for plastic materials then the return mapping; the row ``total`` goes without it.

    Args:
        rows: of the particles' table.
        laws: names of the constitutive laws in use.
        conditions: names of the particle conditions in use.
        forced: whether there are external forces.
        surfaces: names of the grid conditions with surfaces that particles can touch.
        gather: take velocities from the grid; if not, they are in the table. Without ``scatter`` they get there.
        scatter: add to the grid.
        cuda: add the contributions of a CUDA warp together; needs whole blocks of ``THREADS_IN_BLOCK``.
        exact: sum in whole numbers.
    """
    stresses = tuple(LAWS[name].stress for name in laws)
    flowing = tuple((i, LAWS[name].return_mapping) for i, name in enumerate(laws) if LAWS[name].return_mapping)
    functions = tuple(PARTICLE_CONDITIONS[name] for name in conditions)
    sides_touched = tuple((SIDES_TOUCHED[name], first_bit(i)) for i, name in enumerate(surfaces))
    add_to_grid = (scatter_exactly if exact else scatter_by_warp) if cuda else scatter_by_particle
    grid_type = ExactGridStruct if exact else GridStruct

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False)
    def kernel(
        grid: grid_type,
        substep: SubstepStruct,
        particles: ParticlesStruct,
        affine_kept: wp.vec2,
        settings: wp.array(dtype=ConditionStruct),
        surface_settings: wp.array(dtype=ConditionStruct),
        forces: ForcesStruct,
        clock: wp.array(dtype=wp.float64),
        offset: wp.float64,
    ):
        t = wp.tid()
        lattice = grid.lattice
        dt = substep.dt
        table = particles.table
        part = Contribution()
        part.active = False
        if t < particles.count:
            m = table[wp.static(rows.mass), t]
            mu = table[wp.static(rows.mu), t]
            lam = table[wp.static(rows.lam), t]
            law = int(0)
            if wp.static(len(laws) > 1):
                law = int(table[wp.static(rows.law), t])
            past = float(0.0)
            if wp.static(rows.plastic):
                past = table[wp.static(rows.history), t]
            x = vector_in(table, wp.static(rows.x), t)
            F = matrix_in(table, wp.static(rows.F), t)
            shift = int(0)
            if wp.static(rows.layered):
                shift = layer_shift(lattice, int(table[wp.static(rows.body), t]))
            v = wp.vec3()
            C = wp.mat33()
            if wp.static(gather):
                c = coordinates(lattice, x)
                # Outside the grid a particle stays where it is; the frame loop reports it.
                if is_inside(lattice, c):
                    collected, gradient = collect(lattice, grid.velocities, c, shift)
                    v = collected
                    transposed = wp.transpose(gradient)
                    symmetric = (0.5 * affine_kept[0]) * (gradient + transposed)
                    C = symmetric + (0.5 * affine_kept[1]) * (gradient - transposed)
                    F = F + dt * (gradient * F)
                    if wp.static(rows.plastic):
                        total = matrix_in(table, wp.static(rows.total), t)
                        put_matrix(table, wp.static(rows.total), t, total + dt * (gradient * total))
                        parameters = parameters_in(table, wp.static(rows.parameters), t)
                        for i in range(wp.static(len(flowing))):
                            if law == wp.static(flowing[i][0]):
                                F, past = wp.static(flowing[i][1])(F, past, mu, lam, parameters, dt)
                        table[wp.static(rows.history), t] = past
                    if wp.static(forced):
                        moved = x + dt * v
                        v += dt * acceleration(forces, particles.origin[t], moved, middle(clock, offset), dt)
                    if wp.static(len(functions) > 0):
                        # What happens during the substep is decided where it began, but a velocity that is given is
                        # at once that of the motion.
                        end = x + dt * v
                        time = middle(clock, offset)
                        start = particles.start[particles.origin[t]]
                        for i in range(wp.static(len(functions))):
                            v = wp.static(functions[i])(settings[i], start, m, end, v, time, dt)
                    x = x + dt * v
                    put_vector(table, wp.static(rows.x), t, x)
                    put_matrix(table, wp.static(rows.F), t, F)
                if wp.static(not scatter):
                    put_vector(table, wp.static(rows.v), t, v)
                    put_matrix(table, wp.static(rows.affine), t, C)
            else:
                v = vector_in(table, wp.static(rows.v), t)
                C = matrix_in(table, wp.static(rows.affine), t)
            if wp.static(scatter):
                c = coordinates(lattice, x)
                if is_inside(lattice, c):
                    tau = wp.mat33()
                    for i in range(wp.static(len(stresses))):
                        if law == i:
                            tau = wp.static(stresses[i])(F, past, mu, lam)
                    volume = table[wp.static(rows.volume), t]
                    scale = dt * volume * INVERSE_INERTIA * lattice.inverse_dx * lattice.inverse_dx
                    first = first_node(c)
                    part.active = True
                    part.first = wp.vec3i(first[0] + shift, first[1], first[2])
                    part.f = c - wp.vec3(float(first[0]), float(first[1]), float(first[2]))
                    part.mass = m
                    part.momentum = m * v
                    # The velocity field m (v + C (x_i - x)) with the stress' impulse, per cell of distance.
                    part.gradient = (m * C - scale * tau) * lattice.dx
                    if wp.static(len(surfaces) > 0):
                        # Where it would be in the middle of the next substep: at most a quarter of a cell too late.
                        time = middle(clock, offset) + dt
                        ahead = x + 0.5 * dt * v
                        sides = int(0)
                        for i in range(wp.static(len(surfaces))):
                            found = wp.static(sides_touched[i][0])(surface_settings[i], lattice, ahead, time)
                            sides = sides | (found << wp.static(sides_touched[i][1]))
                        if sides != 0:
                            touch(grid.touching, lattice, part.first, sides)
        if wp.static(scatter):
            wp.static(add_to_grid)(grid, substep, part)

    return kernel


@cache
def update_grid(conditions: tuple[str, ...], surfaces: bool, layered: bool, exact: bool) -> wp.Kernel:
    """Return the grid's kernel: momenta to velocities under gravity and these grid conditions; momenta to zero.

    Args:
        conditions: names of the grid conditions in use.
        surfaces: hold nodes only near particles that touch these conditions' surfaces.
        layered: whether the grid has several layers; then nodes that bodies share are found.
        exact: sums are in whole numbers.
    """
    held, share = held_velocity(conditions, surfaces), share_block(exact)
    grid_type, take_node = (ExactGridStruct, take_exactly) if exact else (GridStruct, take)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False)
    def kernel(
        grid: grid_type,
        substep: SubstepStruct,
        threads: int,
        shared: SharedBlocksStruct,
        gravity: wp.vec3,
        damping: float,
        settings: wp.array(dtype=ConditionStruct),
        clock: wp.array(dtype=wp.float64),
        offset: wp.float64,
    ):
        n = wp.tid()
        lattice = grid.lattice
        dt = substep.dt
        if n == 0:
            grid.counts[1 - substep.now] = 0
            if wp.static(layered):
                shared.counts[1 - substep.now] = 0
        time = middle(clock, offset)
        count = grid.counts[substep.now] * NODES_IN_BLOCK
        while n < count:
            block = grid.touched[n >> (3 * BLOCK_BITS)]
            place = n & (NODES_IN_BLOCK - 1)
            index = block * NODES_IN_BLOCK + place
            value = wp.static(take_node)(grid, index, substep.units)
            if wp.static(layered):
                share(grid, substep, shared, block, place)  # while the momentum is still on its way
            sides = int(0)
            if wp.static(surfaces):
                sides = grid.touching[index]
                grid.touching[index] = 0
                grid.sides[index] = sides
            m = value[3]
            if wp.static(layered):
                put_reached(shared.reached, block, place, m > 0.0)
            velocity = wp.vec3()
            if m > 0.0:
                velocity = (wp.vec3(value[0], value[1], value[2]) / m + dt * gravity) * damping
                node = node_at(lattice, block, place)
                if wp.static(layered):
                    node = node_at(lattice, block % blocks_in_layer(lattice), place)
                velocity = held(settings, lattice, node, velocity, time, dt, sides)
            store_node(grid.velocities, index, wp.vec4(velocity[0], velocity[1], velocity[2], m))
            n += threads

    return kernel

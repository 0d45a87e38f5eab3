"""Take the substeps of ``impulse_steps`` in one Warp kernel, in which a block of threads moves a scene's objects."""

# mypy: ignore-errors

import warp as wp

wp.set_module_options({"enable_backward": False, "max_unroll": 13})

BLOCK = 256  # threads of a block on a GPU; on the CPU one thread does everything
BASIS = wp.constant(13)
FUNCTIONS = wp.constant(9)
MODES = wp.constant(27)


@wp.struct
class Constants:
    """Numbers of a step, see ``impulse_steps`` and ``contact_solver``."""

    h: float
    substeps: int
    sweeps: int
    thickness: float
    fuzz: float
    softness: float
    over_relaxed: float
    slow: float
    fastest_parting: float


@wp.struct
class Touching:
    """M contacts of every scene, see ``Contacts`` and ``Response``; owners and partners are numbers, walls -1."""

    owner: wp.array2d(dtype=int)
    partner: wp.array2d(dtype=int)
    own: wp.array3d(dtype=float)
    theirs: wp.array3d(dtype=float)
    normals: wp.array2d(dtype=wp.vec3)
    along: wp.array2d(dtype=float)
    across: wp.array2d(dtype=float)
    turning: wp.array2d(dtype=float)


@wp.struct
class Alike:
    """What contacts are like, (B, M) each, see ``Properties``."""

    restitution: wp.array2d(dtype=float)
    friction: wp.array2d(dtype=float)
    recovery: wp.array2d(dtype=float)
    rolling: wp.array2d(dtype=float)


@wp.struct
class Deforming:
    """How bodies answer, see ``Elasticity``, ``ElasticModes``, ``Bodies`` and ``Response``."""

    R: wp.array2d(dtype=wp.mat33)
    shapes: wp.array4d(dtype=float)
    yields: wp.array3d(dtype=float)
    squared: wp.array3d(dtype=float)
    answers: wp.array4d(dtype=float)
    kick: wp.array3d(dtype=wp.vec3)


@wp.struct
class Scratch:
    """Memory of a block, of which nothing is read before it is written."""

    before: wp.array3d(dtype=wp.vec3)  # (B, O, 13)
    got: wp.array3d(dtype=wp.vec3)  # (B, O, 13)
    rates: wp.array3d(dtype=wp.vec3)  # (B, O, 9)
    modal: wp.array3d(dtype=float)  # (B, O, 27)
    total: wp.array2d(dtype=float)  # (B, O (1 + O)), as all of patches
    lowest: wp.array2d(dtype=float)
    earlier: wp.array2d(dtype=float)  # (B, M), as all of contacts
    lift: wp.array2d(dtype=float)
    bound: wp.array2d(dtype=float)
    lacking: wp.array2d(dtype=float)
    rate: wp.array2d(dtype=float)
    yielding: wp.array2d(dtype=float)
    pressing: wp.array2d(dtype=float)
    rubbing: wp.array2d(dtype=wp.vec3)
    twisting: wp.array2d(dtype=wp.vec3)


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    __syncthreads();
#endif
""")
def synchronise(): ...


@wp.func
def patch_of(touching: Touching, b: int, i: int, objects: int):
    return touching.owner[b, i] * (1 + objects) + 1 + touching.partner[b, i]


@wp.func
def relative_velocity(touching: Touching, V: wp.array3d(dtype=wp.vec3), b: int, i: int):
    owner = touching.owner[b, i]
    partner = touching.partner[b, i]
    u = wp.vec3()
    for k in range(BASIS):
        u += touching.own[b, i, k] * V[b, owner, k]
    if partner >= 0:
        for k in range(BASIS):
            u -= touching.theirs[b, i, k] * V[b, partner, k]
    return u


@wp.func
def spin(V: wp.array3d(dtype=wp.vec3), b: int, o: int):
    return wp.vec3(V[b, o, 2][2], V[b, o, 3][0], V[b, o, 1][1])


@wp.func
def give(touching: Touching, scratch: Scratch, b: int, i: int, impulse: wp.vec3, torque: wp.vec3):
    """Add an impulse and a torque to what the owner got, and take them from what the partner got."""
    owner = touching.owner[b, i]
    partner = touching.partner[b, i]
    t = 0.5 * torque
    turned = wp.mat33(0.0, t[2], -t[1], -t[2], 0.0, t[0], t[1], -t[0], 0.0)
    for k in range(BASIS):
        more = touching.own[b, i, k] * impulse
        if k >= 1 and k < 4:
            more += wp.vec3(turned[k - 1, 0], turned[k - 1, 1], turned[k - 1, 2])
        wp.atomic_add(scratch.got, b, owner, k, more)
    if partner >= 0:
        for k in range(BASIS):
            less = touching.theirs[b, i, k] * impulse
            if k >= 1 and k < 4:
                less += wp.vec3(turned[k - 1, 0], turned[k - 1, 1], turned[k - 1, 2])
            wp.atomic_sub(scratch.got, b, partner, k, less)


@wp.func
def number_of_patches(scratch: Scratch, b: int, o: int, objects: int):
    number = wp.float32(0.0)
    for p in range(1 + objects):
        if scratch.total[b, o * (1 + objects) + p] > 0.0:
            number += 1.0
    for q in range(objects):
        if scratch.total[b, q * (1 + objects) + 1 + o] > 0.0:
            number += 1.0
    return number


@wp.func
def crowd(touching: Touching, scratch: Scratch, b: int, i: int, objects: int):
    most = number_of_patches(scratch, b, touching.owner[b, i], objects)
    partner = touching.partner[b, i]
    if partner >= 0:
        most = wp.max(most, number_of_patches(scratch, b, partner, objects))
    return wp.max(most, 1.0)


@wp.func
def limited(vector: wp.vec3, length: float):
    return vector * wp.min(length / wp.sqrt(wp.length_sq(vector) + 1.0e-20), 1.0)


@wp.func
def rub(
    touching: Touching,
    alike: Alike,
    scratch: Scratch,
    V: wp.array3d(dtype=wp.vec3),
    b: int,
    i: int,
    u: wp.vec3,
    rate: float,
    pressing: float,
):
    """Give what a sweep of ``solve`` adds to scratch's impulses of a contact, of which ``pressing`` is known."""
    normal = touching.normals[b, i]
    partner = touching.partner[b, i]
    turning = spin(V, b, touching.owner[b, i])
    if partner >= 0:
        turning -= spin(V, b, partner)
    rubbing = scratch.rubbing[b, i] - rate / touching.across[b, i] * (u - wp.dot(u, normal) * normal)
    rubbing = limited(rubbing, alike.friction[b, i] * pressing)
    twisting = scratch.twisting[b, i] - rate / touching.turning[b, i] * turning
    twisting = limited(twisting, alike.rolling[b, i] * pressing)
    impulse = (pressing - scratch.pressing[b, i]) * normal + rubbing - scratch.rubbing[b, i]
    torque = twisting - scratch.twisting[b, i]
    if wp.length_sq(impulse) + wp.length_sq(torque) > 0.0:
        give(touching, scratch, b, i, impulse, torque)
    scratch.pressing[b, i] = pressing
    scratch.rubbing[b, i] = rubbing
    scratch.twisting[b, i] = twisting


@wp.func
def answer(
    deforming: Deforming, scratch: Scratch, V: wp.array3d(dtype=wp.vec3), b: int, objects: int, t: int, threads: int
):
    """Change V by what bodies got."""
    for row in range(t, objects * BASIS, threads):
        o = row // BASIS
        k = row % BASIS
        change = wp.vec3()
        for other in range(BASIS):
            got = scratch.got[b, o, other]
            for c in range(3):
                column = 3 * other + c
                change += got[c] * wp.vec3(
                    deforming.answers[b, o, 3 * k, column],
                    deforming.answers[b, o, 3 * k + 1, column],
                    deforming.answers[b, o, 3 * k + 2, column],
                )
        V[b, o, k] = V[b, o, k] + change


@wp.func
def clear(scratch: Scratch, b: int, objects: int, t: int, threads: int):
    for row in range(t, objects * BASIS, threads):
        scratch.got[b, row // BASIS, row % BASIS] = wp.vec3()


@wp.kernel
def take_substeps(
    constants: Constants,
    touching: Touching,
    alike: Alike,
    deforming: Deforming,
    scratch: Scratch,
    threads: int,
    gaps: wp.array2d(dtype=float),
    V: wp.array3d(dtype=wp.vec3),
    Z: wp.array3d(dtype=wp.vec3),
    moved: wp.array3d(dtype=wp.vec3),
):
    """Do what ``impulse_steps`` does, in place.

    Args:
        gaps: (B, M), metres.
        V, moved: (B, O, 13).
        Z: (B, O, 9), metres.
    """
    b, t = wp.tid()
    objects = V.shape[1]
    contacts = gaps.shape[1]
    patches = objects * (1 + objects)
    h = constants.h
    for _step in range(constants.substeps):
        # Where bodies are in the middle of the substep, and how they move at its end without contacts.
        for row in range(t, objects * BASIS, threads):
            scratch.before[b, row // BASIS, row % BASIS] = V[b, row // BASIS, row % BASIS]
        clear(scratch, b, objects, t, threads)
        for patch in range(t, patches, threads):
            scratch.total[b, patch] = 0.0
            scratch.lowest[b, patch] = 1.0
        for row in range(t, objects * FUNCTIONS, threads):
            o = row // FUNCTIONS
            scratch.rates[b, o, row % FUNCTIONS] = wp.transpose(deforming.R[b, o]) * V[b, o, 4 + row % FUNCTIONS]
        synchronise()
        for row in range(t, objects * MODES, threads):
            o = row // MODES
            mode = row % MODES
            amplitude = wp.float32(0.0)
            rate = wp.float32(0.0)
            for k in range(FUNCTIONS):
                for c in range(3):
                    shape = deforming.shapes[b, o, 3 * k + c, mode]
                    rate += shape * scratch.rates[b, o, k][c]
                    amplitude += shape * (Z[b, o, k][c] + 0.5 * h * scratch.rates[b, o, k][c])
            squared = deforming.squared[b, o, mode]
            rate = (1.0 + 0.25 * h * h * squared) * rate - h * squared * amplitude
            scratch.modal[b, o, mode] = deforming.yields[b, o, mode] * rate
        for i in range(t, contacts, threads):
            earlier = wp.dot(relative_velocity(touching, V, b, i), touching.normals[b, i])
            gap = gaps[b, i] + 0.5 * h * earlier
            gaps[b, i] = gap
            scratch.earlier[b, i] = earlier
            scratch.pressing[b, i] = 0.0
            scratch.rubbing[b, i] = wp.vec3()
            scratch.twisting[b, i] = wp.vec3()
        synchronise()
        for row in range(t, objects * BASIS, threads):
            o = row // BASIS
            k = row % BASIS
            if k < 4:
                V[b, o, k] = V[b, o, k] + deforming.kick[b, o, k]
            else:
                rates = wp.vec3()
                for mode in range(MODES):
                    first = 3 * (k - 4)
                    rates += scratch.modal[b, o, mode] * wp.vec3(
                        deforming.shapes[b, o, first, mode],
                        deforming.shapes[b, o, first + 1, mode],
                        deforming.shapes[b, o, first + 2, mode],
                    )
                V[b, o, k] = deforming.R[b, o] * rates
        synchronise()

        # ``divide``
        for i in range(t, contacts, threads):
            free = wp.dot(relative_velocity(touching, V, b, i), touching.normals[b, i])
            scratch.bound[b, i] = free
            wp.atomic_min(scratch.lowest, b, patch_of(touching, b, i, objects), gaps[b, i] + 0.5 * h * free)
        synchronise()
        for i in range(t, contacts, threads):
            patch = patch_of(touching, b, i, objects)
            lowest = scratch.lowest[b, patch]
            lift = wp.clamp(gaps[b, i] + 0.5 * h * scratch.bound[b, i] - lowest, 0.0, constants.thickness)
            active = wp.clamp(0.5 - lowest / constants.fuzz, 0.0, 1.0) * (1.0 - lift / constants.thickness)
            scratch.lift[b, i] = lift
            scratch.rate[b, i] = active
            if active > 0.0:
                wp.atomic_add(scratch.total, b, patch, active)
        synchronise()

        # ``solve``
        for i in range(t, contacts, threads):
            share = scratch.rate[b, i] / wp.max(scratch.total[b, patch_of(touching, b, i, objects)], 1.0e-9)
            free = scratch.bound[b, i]
            earlier = scratch.earlier[b, i]
            gap = gaps[b, i] - scratch.lift[b, i]
            met = wp.max(wp.min(-earlier, -free), 0.0)
            bounce = alike.restitution[b, i] * met * met * met / (met * met + constants.slow * constants.slow)
            parting = wp.clamp(-alike.recovery[b, i] * gap / h, 0.0, constants.fastest_parting)
            bound = parting - wp.max(wp.max(2.0 * gap / h, earlier), 0.0)
            if gap + 0.5 * h * free < 0.0 and free < 0.0:
                bound = wp.max(bound, bounce)
            scratch.bound[b, i] = bound
            scratch.lacking[b, i] = wp.where(share > 0.0, bound - free, 0.0)
            scratch.rate[b, i] = constants.over_relaxed * share / crowd(touching, scratch, b, i, objects)
            scratch.yielding[b, i] = wp.max(share / touching.along[b, i], 1.0e-9) / constants.softness
        synchronise()
        for _sweep in range(constants.sweeps):
            for i in range(t, contacts, threads):
                u = relative_velocity(touching, V, b, i)
                rate = scratch.rate[b, i]
                along = rate / touching.along[b, i] / (1.0 + constants.softness)
                change = scratch.bound[b, i] - wp.dot(u, touching.normals[b, i])
                change += constants.softness * scratch.lacking[b, i]
                change -= scratch.pressing[b, i] / scratch.yielding[b, i]
                pressing = wp.max(scratch.pressing[b, i] + along * change, 0.0)
                rub(touching, alike, scratch, V, b, i, u, rate, pressing)
            synchronise()
            answer(deforming, scratch, V, b, objects, t, threads)
            synchronise()
            clear(scratch, b, objects, t, threads)
            synchronise()

        for i in range(t, contacts, threads):
            gaps[b, i] = gaps[b, i] + 0.5 * h * wp.dot(relative_velocity(touching, V, b, i), touching.normals[b, i])
        for row in range(t, objects * BASIS, threads):
            o = row // BASIS
            k = row % BASIS
            drift = 0.5 * h * (scratch.before[b, o, k] + V[b, o, k])
            moved[b, o, k] = moved[b, o, k] + drift
            if k >= 4:
                Z[b, o, k - 4] = Z[b, o, k - 4] + wp.transpose(deforming.R[b, o]) * drift
        synchronise()

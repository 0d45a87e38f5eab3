"""This module advances the state of a simulation by one substep or by all substeps of a frame.

>>> solver = MPMSolver(model)
>>> solver.step(state, state, dt=1e-4)
>>> solver.advance(state, substeps=200, dt=1e-4)
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import warp as wp

from dataset.mpm import object_forces, particles, substep
from dataset.mpm.boundary_conditions import GRID_CONDITIONS, PARTICLE_CONDITIONS, ConditionStruct
from dataset.mpm.contact.contact_step import ContactStep
from dataset.mpm.contact.shared_blocks import SharedBlocksStruct
from dataset.mpm.grid import Grid
from dataset.mpm.lattice import NODES_IN_BLOCK
from dataset.mpm.model import STABLE_SHARE, MPMModel
from dataset.mpm.object_forces import ForcesStruct, ObjectForces
from dataset.mpm.particles import ParticlesStruct
from dataset.mpm.state import MPMState
from dataset.mpm.transfers import THREADS_IN_BLOCK, SubstepStruct

# Enough threads to fill a large GPU; each takes several nodes if more are touched.
_GRID_THREADS = 1 << 17
_BLOCKS_OF_A_PARTICLE = 8
# Of a whole number for all particles' mass: precise to float32 for the mass of a billionth, far from overflow.
_BITS = 52
# Particles move less than a cell in so many substeps, and sorting takes about as long as one.
_SUBSTEPS_BETWEEN_SORTS = 25


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero in the block.

    Squares of the strains of bodies in free fall are denormal, and CPUs are several times slower with such numbers.
    """
    already = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


class MPMSolver:
    """Advances states of one model; it holds the grid and a sorted copy of the particles.

    No call waits for the device: on CUDA a frame is one graph, captured at its first use.

    Args:
        model: what to simulate; the solver works on its device.
        forces: on its objects, measured at the start of each frame.
        grid: memory to use, which no other solver uses meanwhile, with a layer for each body in contact; None for the
            solver's own.
        deterministic: bitwise equal results in each run on the same machine, for a little time; of the solver's own
            grid.

    Raises:
        ValueError: the grid is another lattice's, on another device, or has too few layers.
    """

    def __init__(
        self, model: MPMModel, forces: ObjectForces | None = None, grid: Grid | None = None, deterministic: bool = False
    ) -> None:
        self.model = model
        self._forces = forces
        lattice, device, count = model.lattice, model.device, len(model)
        layers = 1 if model.contact is None else model.contact.bodies
        self._grid = Grid(lattice, device, deterministic, layers) if grid is None else grid
        if self._grid.lattice != lattice or self._grid.device != device or self._grid.layers < layers:
            raise ValueError("grid: expected one of the model's lattice and device, with a layer for each body")
        self._lattice = lattice.struct()
        self._gravity = wp.vec3(*model.gravity)
        # What the particles weigh together is the most that a node can hold.
        self._mass_unit = 2.0**-_BITS * float(model.mass.numpy().sum(dtype=np.float64)) if self._grid.exact else 1.0

        self._rows = particles.Rows(model.plastic, layered=model.contact is not None)
        # The second one is what sorting moves the first one to.
        self._particles = [self._sorted_particles() for _ in range(2)]
        self._keys = wp.zeros(2 * count, dtype=int, device=device)
        self._order = wp.zeros(2 * count, dtype=int, device=device)
        self._past = len(self._grid.struct.velocities)  # key of particles outside the grid
        self._key_bits = self._past.bit_length()

        on_grid, self._grid_settings = self._conditions(GRID_CONDITIONS)
        on_particles, self._particle_settings = self._conditions(PARTICLE_CONDITIONS)
        timed = any(condition.type != "bounding_box" for condition in model.boundary_conditions)
        self._timed = timed or forces is not None
        kind = {"cuda": device.is_cuda, "exact": self._grid.exact}
        surfaces = on_grid if model.boundaries == "surfaces" else ()
        if surfaces:
            self._grid.hold_surfaces()
        common = (self._rows, model.laws, on_particles, forces is not None, surfaces)
        self._scatter = substep.update_particles(*common, gather=False, scatter=True, **kind)
        self._gather_and_scatter = substep.update_particles(*common, gather=True, scatter=True, **kind)
        self._gather = substep.update_particles(*common, gather=True, scatter=False, **kind)
        self._update_grid = substep.update_grid(on_grid, bool(surfaces), self._rows.layered, self._grid.exact)
        self._contact = None
        if model.contact is not None:
            self._contact = ContactStep(model, self._grid, self._rows, on_grid, bool(surfaces), self._grid_settings)
        self._load_particles = particles.load_particles(self._rows)
        self._store_particles = particles.store_particles(self._rows)
        self._affine_kept = wp.vec2(*model.affine_kept)
        self._no_forces = ForcesStruct()
        self._graphs: dict[tuple[int, int, float], tuple[MPMState, wp.Graph]] = {}

    def _sorted_particles(self) -> ParticlesStruct:
        model = self.model
        struct = ParticlesStruct()
        struct.count = len(model)
        struct.table = wp.zeros((self._rows.count, len(model)), dtype=float, device=model.device)
        struct.origin = wp.zeros(len(model), dtype=int, device=model.device)
        if model.start is not None:
            struct.start = model.start
        return struct

    def _conditions(self, table: Mapping[str, wp.Function]) -> tuple[tuple[str, ...], wp.array]:
        """Return names and settings of the model's conditions in ``table``."""
        found = [condition for condition in self.model.boundary_conditions if condition.type in table]
        settings = [condition.pack() for condition in found]
        names = tuple(condition.type for condition in found)
        return names, wp.array(settings, dtype=ConditionStruct, device=self.model.device)

    def step(self, state_in: MPMState, state_out: MPMState, dt: float) -> None:
        """Advance by one substep of ``dt`` seconds; ``state_out`` may be ``state_in``.

        Raises:
            ValueError: the model has plastic materials, but a state no place for the whole deformation.
        """
        self._run(state_in, state_out, 1, dt)

    def advance(self, state: MPMState, substeps: int, dt: float) -> None:
        """Advance ``state`` in place by ``substeps`` substeps of ``dt`` seconds.

        Raises:
            ValueError: ``dt`` is past the stability limit of the model, or as in ``step``.
        """
        limit = self.model.largest_substep.min()
        if dt >= limit:
            raise ValueError(f"dt: expected less than {limit:.4g} s, {STABLE_SHARE} dx / speed of sound, found {dt:g}")
        if not self.model.device.is_cuda:
            with _without_denormals():
                self._run(state, state, substeps, dt)
            return
        key = (id(state), substeps, dt)
        if key not in self._graphs:
            # The state is kept with its graph, so that its id cannot be another's.
            self._graphs[key] = (state, self._capture(state, substeps, dt))
        wp.capture_launch(self._graphs[key][1])

    def _capture(self, state: MPMState, substeps: int, dt: float) -> wp.Graph:
        device = self.model.device
        for kernel in (self._scatter, self._gather_and_scatter, self._gather):
            kernel.module.load(device, THREADS_IN_BLOCK)
        for kernel in (self._update_grid, self._load_particles, self._store_particles, particles.reorder):
            kernel.module.load(device)
        for kernel in () if self._contact is None else self._contact.kernels:
            kernel.module.load(device)
        for kernel in (substep.advance_clock, object_forces.describe_bodies):
            kernel.module.load(device)
        with wp.ScopedCapture(device, force_module_load=False) as capture:
            self._run(state, state, substeps, dt)
        return capture.graph

    def _run(self, state_in: MPMState, state_out: MPMState, substeps: int, dt: float) -> None:
        """Run substeps: the particles' kernel does the second half of each together with the first half of the next."""
        if self.model.plastic and (state_in.total is None or state_out.total is None):
            raise ValueError("state: expected one made with plastic=True, for materials that flow")
        device, count = self.model.device, len(self.model)
        if self._forces is not None:
            self._forces.measure(state_in)
        self._load(state_in)
        self._grid.struct.counts.zero_()
        self._grid.struct.marked.zero_()
        if self._contact is not None:
            self._contact.begin()
        at = [self._substep(dt, now) for now in range(2)]  # substeps take turns with the grid's two counts
        now = 0  # which of the two copies of the particles is the sorted one
        for k in range(substeps):
            if k % _SUBSTEPS_BETWEEN_SORTS == 0 and k > 0:
                self._sort(self._particles[now], self._particles[1 - now])
                now = 1 - now
            at[k % 2].number = k + 1
            kernel = self._gather_and_scatter if k > 0 else self._scatter
            self._launch(kernel, at[k % 2], state_in, (k - 0.5) * dt, now)
            self._launch_grid(at[k % 2], state_in, (k + 0.5) * dt)
            if self._contact is not None:
                self._contact.exchange(at[k % 2], self._particles[now], state_in.time, (k + 0.5) * dt)
        self._launch(self._gather, at[substeps % 2], state_in, (substeps - 0.5) * dt, now)
        wp.launch(self._store_particles, count, [self._particles[now]], [state_out.struct], device=device)
        if self._timed:
            wp.launch(substep.advance_clock, 1, [state_in.time, substeps * dt, state_out.time], device=device)

    def _launch(self, kernel: wp.Kernel, at: SubstepStruct, state: MPMState, offset: float, now: int) -> None:
        """Launch the particles' kernel; ``offset`` is the middle of the substep that ends, s after the state's time."""
        model, count = self.model, len(self.model)
        # Warps add together: none may be short of threads.
        threads = -(-count // THREADS_IN_BLOCK) * THREADS_IN_BLOCK if model.device.is_cuda else count
        forces = self._no_forces if self._forces is None else self._forces.struct
        settings = [self._particle_settings, self._grid_settings]
        inputs = [self._grid.struct, at, self._particles[now], self._affine_kept, *settings, forces]
        wp.launch(kernel, threads, [*inputs, state.time, offset], device=model.device, block_dim=THREADS_IN_BLOCK)

    def _launch_grid(self, at: SubstepStruct, state: MPMState, offset: float) -> None:
        """Launch the grid's kernel; ``offset`` is the middle of the substep, s after the state's time."""
        model = self.model
        if model.device.is_cuda:
            threads = min(_GRID_THREADS, _BLOCKS_OF_A_PARTICLE * len(model) * NODES_IN_BLOCK)
        else:  # the count is at hand
            threads = int(self._grid.struct.counts.numpy()[at.now]) * NODES_IN_BLOCK
        damping = min(1.0, model.grid_damping)
        shared = SharedBlocksStruct() if self._contact is None else self._contact.shared
        inputs = [self._grid.struct, at, threads, shared, self._gravity, damping, self._grid_settings]
        wp.launch(self._update_grid, threads, [*inputs, state.time, offset], device=model.device)

    def _substep(self, dt: float, now: int) -> SubstepStruct:
        """Return a substep for kernels; its units assume that nothing moves faster than a cell a substep."""
        momentum = self._mass_unit * self.model.lattice.dx / dt
        struct = SubstepStruct()
        struct.dt, struct.now = dt, now
        struct.units = wp.vec4(momentum, momentum, momentum, self._mass_unit)
        return struct

    def _load(self, state: MPMState) -> None:
        """Copy the particles, sorted by cell, into the first table."""
        model, device, count = self.model, self.model.device, len(self.model)
        inputs = [self._lattice, self._past, state.x, model.body, self._keys, self._order]
        wp.launch(particles.find_cells, count, inputs, device=device)
        wp.utils.radix_sort_pairs(self._keys, self._order, count, end_bit=self._key_bits)
        inputs = [self._order, state.struct, model.struct]
        wp.launch(self._load_particles, count, inputs, [self._particles[0]], device=device)

    def _sort(self, source: ParticlesStruct, target: ParticlesStruct) -> None:
        """Copy particles, sorted by cell, to ``target``."""
        device, count = self.model.device, len(self.model)
        row = self._rows.body if self._rows.layered else -1
        inputs = [source, self._lattice, self._past, row, self._keys, self._order]
        wp.launch(particles.find_cells_again, count, inputs, device=device)
        wp.utils.radix_sort_pairs(self._keys, self._order, count, end_bit=self._key_bits)
        wp.launch(particles.reorder, count, [self._rows.moved, self._order, source], [target], device=device)

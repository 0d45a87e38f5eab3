"""The MLS-MPM solver: one substep, or all substeps of a frame at once.

>>> solver = MPMSolver(model)
>>> solver.step(state, state, dt=1e-4)
>>> solver.advance(state, substeps=200, dt=1e-4)
"""

from collections.abc import Mapping

import warp as wp

from dataset.mpm import kernels
from dataset.mpm.boundary_conditions import GRID_CONDITIONS, PARTICLE_CONDITIONS, ConditionStruct
from dataset.mpm.lattice import NODES_IN_BLOCK
from dataset.mpm.model import MPMModel
from dataset.mpm.state import MPMState

# Enough threads to fill a large GPU; each takes several nodes if more are touched.
_GRID_THREADS = 1 << 18
_BLOCKS_OF_A_PARTICLE = 8


class MPMSolver:
    """Steps states of one model; holds the grid and nothing else.

    No call waits for the device: on CUDA a frame is one graph, captured at its first use.

    Args:
        model: what to simulate; the solver works on its device.
    """

    def __init__(self, model: MPMModel) -> None:
        self.model = model
        lattice, device = model.lattice, model.device
        blocks = lattice.blocks**3
        self._lattice = lattice.struct()
        self._gravity = wp.vec3(*model.gravity)
        self._grid = wp.zeros(blocks * NODES_IN_BLOCK, dtype=wp.vec4, device=device)
        self._marked = wp.zeros(blocks, dtype=int, device=device)
        self._touched = wp.zeros(min(blocks, _BLOCKS_OF_A_PARTICLE * len(model)), dtype=int, device=device)
        self._touched_count = wp.zeros(1, dtype=int, device=device)
        self._particles_to_grid = kernels.particles_to_grid(model.laws)
        self._grid_to_particles = kernels.grid_to_particles(model.laws)
        on_grid, self._grid_settings = self._conditions(GRID_CONDITIONS)
        on_particles, self._particle_settings = self._conditions(PARTICLE_CONDITIONS)
        self._update_grid = kernels.update_grid(on_grid)
        self._update_particles = kernels.update_particles(on_particles)
        self._timed = any(condition.type != "bounding_box" for condition in model.boundary_conditions)
        self._graphs: dict[tuple[int, int, float], tuple[MPMState, wp.Graph]] = {}

    def _conditions(self, table: Mapping[str, wp.Function]) -> tuple[tuple[str, ...], wp.array]:
        """Names and settings of the model's conditions in ``table``."""
        found = [condition for condition in self.model.boundary_conditions if condition.type in table]
        settings = [condition.pack() for condition in found]
        names = tuple(condition.type for condition in found)
        return names, wp.array(settings, dtype=ConditionStruct, device=self.model.device)

    def step(self, state_in: MPMState, state_out: MPMState, dt: float) -> None:
        """One substep of ``dt`` seconds; ``state_out`` may be ``state_in``.

        Raises:
            ValueError: the model has plastic materials, but a state no place for the whole deformation.
        """
        if self.model.plastic and (state_in.total is None or state_out.total is None):
            raise ValueError("state: expected one made with plastic=True, for materials that flow")
        model, lattice, device, count = self.model, self._lattice, self.model.device, len(self.model)
        touched = [self._touched, self._touched_count]
        wp.launch(kernels.mark_blocks, count, [lattice, state_in.x, self._marked, *touched], device=device)
        wp.launch(
            self._particles_to_grid,
            count,
            [lattice, dt, *state_in.arrays, *model.arrays, state_in.history, self._grid],
            device=device,
        )
        threads = self._grid_threads()
        damping = min(1.0, model.grid_damping)
        wp.launch(
            self._update_grid,
            threads,
            [lattice, dt, threads, self._gravity, damping, self._grid_settings, state_in.time, *touched, self._grid],
            device=device,
        )
        before = [state_in.x, state_in.F, state_in.total, state_in.history]
        material = [model.mu, model.lam, model.law, model.parameters]
        after = [*state_out.arrays, state_out.total, state_out.history]
        wp.launch(
            self._grid_to_particles,
            count,
            [lattice, dt, *model.affine_kept, self._grid, *before, *material, *after],
            device=device,
        )
        if model.start is not None:
            particles = [model.start, model.mass, state_out.x, state_out.v]
            settings = [self._particle_settings, state_in.time]
            wp.launch(self._update_particles, count, [dt, *settings, *particles], device=device)
        if self._timed:
            wp.launch(kernels.advance_clock, 1, [state_in.time, dt, state_out.time], device=device)
        wp.launch(kernels.clear_blocks, threads, [threads, self._marked, *touched, self._grid], device=device)
        self._touched_count.zero_()

    def advance(self, state: MPMState, substeps: int, dt: float) -> None:
        """``substeps`` substeps of ``dt`` seconds, in place.

        Raises:
            ValueError: ``dt`` is past the stability limit of the model.
        """
        limit = self.model.largest_substep.min()
        if dt >= limit:
            raise ValueError(f"dt: expected less than {limit:.4g} s, dx / speed of sound, found {dt:g}")
        if not self.model.device.is_cuda:
            for _ in range(substeps):
                self.step(state, state, dt)
            return
        key = (id(state), substeps, dt)
        if key not in self._graphs:
            # The state is kept with its graph, so that its id cannot be another's.
            self._graphs[key] = (state, self._capture(state, substeps, dt))
        wp.capture_launch(self._graphs[key][1])

    def _capture(self, state: MPMState, substeps: int, dt: float) -> wp.Graph:
        own = (self._particles_to_grid, self._grid_to_particles, self._update_grid, self._update_particles)
        for kernel in (*own, kernels.mark_blocks):
            kernel.module.load(self.model.device)
        with wp.ScopedCapture(self.model.device, force_module_load=False) as capture:
            for _ in range(substeps):
                self.step(state, state, dt)
        return capture.graph

    def _grid_threads(self) -> int:
        """Threads for work on the touched blocks: exactly as many as nodes on the CPU, where the count is at hand."""
        if self.model.device.is_cuda:
            return min(_GRID_THREADS, len(self._touched) * NODES_IN_BLOCK)
        return int(self._touched_count.numpy()[0]) * NODES_IN_BLOCK

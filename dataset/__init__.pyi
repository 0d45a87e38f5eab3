from .catalog import ObjectEntry, Placement, all_objects, object_by_name
from .config import Config, load_config
from .layout import Layout, find_point_cloud
from .rendering.background import ground_plane, load_background
from .rendering.clip_writer import Outputs
from .rendering.frame_reader import moving_gaussians
from .rendering.scene_renderer import SceneRenderer, write_clip
from .rendering.views import View, fixed_view
from .scenes.scene_files import Scene, read_scene, write_scene
from .scenes.scene_objects import SceneObject, TrajectoryObjects, scene_objects, trajectory_objects
from .simulation.materials import ObjectMaterial, object_materials
from .simulation.scene_particles import SceneParticles, particles_of_scene
from .simulation.simulation import Simulation, simulate

__all__ = [
    "Config",
    "Layout",
    "ObjectEntry",
    "ObjectMaterial",
    "Outputs",
    "Placement",
    "Scene",
    "SceneObject",
    "SceneParticles",
    "SceneRenderer",
    "Simulation",
    "TrajectoryObjects",
    "View",
    "all_objects",
    "find_point_cloud",
    "fixed_view",
    "ground_plane",
    "load_background",
    "load_config",
    "moving_gaussians",
    "object_by_name",
    "object_materials",
    "particles_of_scene",
    "read_scene",
    "scene_objects",
    "simulate",
    "trajectory_objects",
    "write_clip",
    "write_scene",
]

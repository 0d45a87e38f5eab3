"""Where things are in the small dataset of ``conftest``, and what is checked of it."""

import shutil

import numpy as np

from tests.dataset_fixture import BACKGROUND, COUNT, GROUP, SCENES
from tools.checks.dataset_walk import DatasetTree

SCENE = SCENES[0]
ROWS = 2 * COUNT - 1
MPM, INITIAL, DYNAMIC = (f"{stage}/{GROUP}/{SCENE}" for stage in ("mpm", "initial", "dynamic"))
FRAME = f"{MPM}/0001.h5"
VIEW = f"{DYNAMIC}/{BACKGROUND}/view_0"


def copy_of(root, destination, *stages):
    """Some stages of the first scene alone."""
    for stage in stages:
        shutil.copytree(root / stage / GROUP / SCENE, destination / stage / GROUP / SCENE)
    return destination


def check(root, quick=False, require=()):
    return DatasetTree(root).scene_check(GROUP, SCENE, require, quick)()


def nan_at_the_end():
    values = np.zeros((ROWS, 3), np.float32)
    values[-1] = np.nan
    return values

"""List the packages: all else about the distribution is in pyproject.toml."""

from setuptools import find_packages, setup

ROOMS = ("gaussians", "dataset", "dynamic_models", "externals", "videogen", "tools")

setup(
    # The settings lie in config/, where commands name them, and are installed inside the package that reads them.
    packages=[*find_packages(include=[f"{room}*" for room in ROOMS]), "dataset.shipped_configs"],
    package_dir={"dataset.shipped_configs": "config"},
)

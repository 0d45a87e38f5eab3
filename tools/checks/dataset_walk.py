"""Walk through a dataset: list its places, and check everything that belongs to each."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from dataset.catalog import all_objects
from dataset.layout import FOLDERS, STAGES, Layout, subdirectories
from dataset.scenes.scene_configs import read_scenes
from gaussians.files.trajectory_format import PUBLISHED_FRAME_DT, read_meta
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json
from tools.checks.findings import Check, Findings
from tools.checks.picture_checks import ExpectedClip, check_initial, check_motion
from tools.checks.scene_checks import SceneCloud, check_background, check_object, check_reconstruction, check_scene
from tools.checks.trajectory_checks import check_keypoints, check_trajectory

_OTHERWISE = ("mpm_vlm", "shifted")  # scenes simulated once more, under other conditions
_TRAJECTORIES = ("mpm", *_OTHERWISE)
_SCENE_FOLDERS = (*STAGES, *_OTHERWISE)
_FOLDERS = (*FOLDERS, *_OTHERWISE, "keypoints")
_OTHER_FILES = r"README\.md|contact_sheet\.jpg"


class DatasetTree:
    """A ``DatasetTree`` is the dataset below one root, with the checks of its places.

    Args:
        root: root of the dataset.
        groups: groups of scenes to look at; None for all.

    Raises:
        InputError: there is no dataset, or no such group.
    """

    def __init__(self, root: Path, groups: Sequence[str] | None = None) -> None:
        self.layout = Layout(root)
        if not root.is_dir():
            raise InputError(f"{root}: no such directory: expected the root of a dataset")
        if not any((root / folder).is_dir() for folder in _FOLDERS):
            raise InputError(f"{root}: no dataset: expected some of {', '.join(_FOLDERS)}")
        present = self._groups()
        for group in groups or ():
            if group not in present:
                raise InputError(f"--groups: no group {group!r} in {root}; there are {', '.join(present)}")
        self.groups = list(groups) if groups else present
        self.configured = {group: self._configured(group) for group in self.groups}

    @property
    def root(self) -> Path:
        return self.layout.root

    def _groups(self) -> list[str]:
        names = {path.name for folder in _SCENE_FOLDERS for path in subdirectories(self.root / folder)}
        return sorted(names | {path.stem for path in self._config_files()})

    def _config_files(self) -> list[Path]:
        return sorted(path for path in self.layout.scene_configs.glob("*.json") if not path.name.startswith("."))

    def _configured(self, group: str) -> list[str]:
        """Return the scenes that a group's config names; none where it is damaged, which its own check reports."""
        try:
            names = read_json(self.layout.scene_config(group))
        except InputError:
            return []
        return list(names) if isinstance(names, dict) else []

    def scenes(self) -> list[tuple[str, str]]:
        """Return the group and name of every scene that a config names or a folder holds."""
        pairs = []
        for group in self.groups:
            folders = [path for folder in _SCENE_FOLDERS for path in subdirectories(self.root / folder / group)]
            names = dict.fromkeys([*self.configured[group], *(path.name for path in folders)])
            pairs += [(group, name) for name in names]
        return pairs

    def checks_outside_scenes(self) -> Iterator[Check]:
        """Yield checks of the root, its folders, and each object, background, scene config and group of keypoints."""
        yield Check(str(self.root), self.check_root)
        for path in subdirectories(self.layout.objects):
            yield Check(f"objects/{path.name}", partial(check_object, path, self.layout))
        for path in subdirectories(self.layout.backgrounds):
            yield Check(f"backgrounds/{path.name}", partial(check_background, path))
        for group in self.groups:
            if self.layout.scene_config(group).is_file():
                yield Check(f"scene_configs/{group}", partial(self.check_config, group))
        for group in self.groups:
            if (self.root / "keypoints" / group).is_dir():
                yield Check(f"keypoints/{group}", partial(self.check_keypoints, group))

    def scene_check(self, group: str, scene: str, require: Sequence[str] = (), quick: bool = False) -> Check:
        """Return the check of everything of one scene.

        Args:
            require: the stages that it must have gone through, if a config names it.
            quick: whether to look at the first and last frames and pictures only.
        """
        return Check(f"{group}/{scene}", partial(self.check_scene, group, scene, require, quick))

    def check_root(self, findings: Findings) -> None:
        """Check the names at the top and one level below, and that no two objects have one number."""
        findings.look_over(self.root, f"{'|'.join(_FOLDERS)}|{_OTHER_FILES}")
        for folder in _FOLDERS:
            if (self.root / folder).is_dir():
                known = r".*\.json" if folder == "scene_configs" else r"[^.]*"
                findings.look_over(self.root / folder, known)
        for folder in (*_SCENE_FOLDERS, "keypoints"):
            for group in subdirectories(self.root / folder):
                findings.look_over(group, r".*\.safetensors" if folder == "keypoints" else r"\d+.*")
        with findings.reading():
            all_objects(self.layout)

    def check_config(self, group: str, findings: Findings) -> None:
        """Check a group's scene config."""
        with findings.reading():
            read_scenes(self.layout.scene_config(group), self.layout)

    def check_keypoints(self, group: str, findings: Findings) -> None:
        """Check the keypoint files of a group."""
        for path in sorted((self.root / "keypoints" / group).glob("[!.]*.safetensors")):
            check_keypoints(path, findings)

    def check_scene(self, group: str, scene: str, require: Sequence[str], quick: bool, findings: Findings) -> None:
        """Check everything of one scene; ``scene_check`` explains the arguments."""
        folder = {name: self.root / name / group / scene for name in _SCENE_FOLDERS}
        for stage in require if scene in self.configured[group] else ():
            if not (folder[stage].is_dir() and subdirectories(folder[stage]) + list(folder[stage].glob("[!.]*.*"))):
                findings.defect(folder[stage], f"nothing there: scene_configs/{group}.json names this scene")
        cloud = check_scene(folder["scenes"], self.layout, findings) if folder["scenes"].is_dir() else None
        num_frames = None
        for name in _TRAJECTORIES:
            if folder[name].is_dir():
                # What was shifted is simulated from a scene of its own.
                found = check_trajectory(folder[name], None if name == "shifted" else cloud, quick, findings)
                num_frames = found if name == "mpm" else num_frames
        clip = self._clip(folder["mpm"], num_frames, cloud)
        for background in self._backgrounds(folder["initial"], findings):
            check_initial(background, scene, clip, quick, findings)
        for background in self._backgrounds(folder["dynamic"], findings):
            check_motion(background, scene, clip, quick, findings)
        for background in self._backgrounds(folder["reconstruct"], findings):
            check_reconstruction(background, findings)

    def _backgrounds(self, path: Path, findings: Findings) -> list[Path]:
        if not path.is_dir():
            return []
        findings.look_over(path, r"[^.]+")
        return subdirectories(path)

    @staticmethod
    def _clip(trajectory: Path, num_frames: int | None, cloud: SceneCloud | None) -> ExpectedClip:
        """Return what the pictures of a scene must agree with."""
        known = len(cloud.objects) if cloud and cloud.labels is not None else None
        if num_frames is None:
            return ExpectedClip(num_objects=known)
        meta = read_meta(trajectory)
        if meta is not None and meta.objects:
            known = len(meta.objects)
        return ExpectedClip(num_frames, round(1 / (meta.frame_dt if meta else PUBLISHED_FRAME_DT)), known)

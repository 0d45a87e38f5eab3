"""Whether a file of keypoints is what docs/formats.md says."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from tools.checks.findings import Findings


def check_keypoints(path: Path, findings: Findings) -> None:
    """``keypoints/<group>/<scene>_<number>.safetensors``: a cache, so that a torn one may go and is no defect."""
    problem = _problem(path)
    if problem:
        findings.leftovers.append(f"{path}: a cache that will be made again: {problem}")


def _problem(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        return f"not a readable safetensors file: {error}"
    missing = [name for name in ("positions", "rows", "labels") if name not in tensors]
    if missing:
        return f"no tensor {', '.join(missing)}"
    positions, rows = tensors["positions"], tensors["rows"]
    if positions.ndim != 4 or positions.shape[1:3] != rows.shape or positions.shape[3] != 3:
        return f"expected positions (T, O, P, 3) and rows (O, P), found {tuple(positions.shape)}, {tuple(rows.shape)}"
    return None

"""Read and write files of Gaussians of any known format, and name the others and what converts them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gaussians.files.splats.compressed_ply import write_compressed_ply
from gaussians.files.splats.ply import read_ply_splats, write_ply
from gaussians.files.splats.splat_file import read_splat_file
from gaussians.files.splats.splat_rows import CAPTURE_UP, UPRIGHT, Splats
from gaussians.files.splats.spz import GZIP_MAGIC, SPZ_MAGIC, read_spz, write_spz
from gaussians.files.splats.tensor_file import read_tensor_splats
from gaussians.files.storage_options import SplatFormat
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

READABLE = "a PLY of 3D Gaussian Splatting, plain or compressed, a .splat, a .spz or a .pt file"
"""The formats that ``read_splats`` reads, in words."""

_LFS_POINTER = b"version https://git-lfs"
_CONVERTER = "`npx @playcanvas/splat-transform {file} out.ply` converts it"
_MESH = "a mesh holds no Gaussians: `python -m dataset.generate_objects --mesh {file} --name NAME` makes some"
_OTHERS = {
    **dict.fromkeys((".ksplat", ".sog", ".lcc", ".lcc2"), "a {suffix}: " + _CONVERTER),
    ".json": "if it is the meta.json of a SOG, " + _CONVERTER,
    ".ckpt": "a checkpoint of nerfstudio: `ns-export gaussian-splat` makes a PLY of it",
    **dict.fromkeys((".obj", ".stl", ".glb", ".gltf", ".off", ".3mf", ".fbx", ".dae"), _MESH),
    **dict.fromkeys((".las", ".laz", ".e57", ".pcd", ".xyz"), "points hold no Gaussians: a capture has to be trained"),
    **dict.fromkeys((".npz", ".npy", ".h5", ".pth", ".usd", ".usdz"), "expected " + READABLE),
}


def read_splats(path: str | Path, keep_rows: bool = False) -> Splats:
    """Read a file of Gaussians, whichever program wrote it; its first bytes tell the format, else its suffix does.

    Args:
        keep_rows: whether a row that holds no Gaussian is an error, as where labels count rows; otherwise it is left
            out, and a note says so.

    Raises:
        InputError: the file is missing, damaged, of another format, or has no row left; the message names the format,
            where it is known, and what converts it.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(len(_LFS_POINTER))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    suffix = path.suffix.lower()
    if head[:3] == b"ply":
        return read_ply_splats(path, keep_rows)
    if suffix == ".splat":
        return read_splat_file(path, keep_rows)
    if head[:2] == GZIP_MAGIC or head[:4] == SPZ_MAGIC:
        return read_spz(path, keep_rows)
    if head == _LFS_POINTER:
        raise InputError(f"{path}: a pointer of Git LFS: `git lfs pull` fetches the file that it stands for")
    if suffix in _OTHERS:
        raise InputError(f"{path}: {_OTHERS[suffix].format(suffix=suffix, file=path.name)}")
    if head[:4] == b"PK\x03\x04" or suffix == ".pt":
        return read_tensor_splats(path, keep_rows)
    if suffix == ".ply":
        return read_ply_splats(path, keep_rows)  # which says what is wrong
    raise InputError(f"{path}: not a file of Gaussians: expected {READABLE}")


@contextmanager
def splat_sequence(folder: Path, kind: SplatFormat) -> Iterator[Callable[[int, Gaussians], None]]:
    """Yield a function that writes Gaussians of the world at a frame's number: ``0000.ply``, ``0001.ply`` and so on.

    The folder appears when the block ends well, and replaces one that is there.

    Raises:
        InputError: a file cannot be written.
    """
    with atomic_path(folder) as temporary:
        yield lambda number, gaussians: write_splats(temporary / f"{number:04d}.{kind}", gaussians, kind)


def write_splats(path: str | Path, gaussians: Gaussians, kind: SplatFormat) -> None:
    """Write Gaussians of the world, z up, for other programs.

    A PLY keeps the world's axes, and a comment says that z points up. A .spz has axes of its own, in which y points up:
    read back, it is as the PLY of a capture whose y points down.

    Raises:
        InputError: the file cannot be written.
    """
    if kind == "spz":
        write_spz(path, gaussians.transformed(rotation=UPRIGHT[CAPTURE_UP].T))
    else:
        writers: dict[str, Callable[..., None]] = {"ply": write_ply, "compressed.ply": write_compressed_ply}
        writers[kind](path, gaussians, up="z")

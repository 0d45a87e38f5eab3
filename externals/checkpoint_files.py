"""Read the weights of perception models from files of any published kind, and load them without leaving a tensor over.

Nothing in a file is run: pickles are read with ``weights_only``. Files that are mapped into memory are read when a
tensor is first used, so that a model that goes to a GPU is not in the machine's memory as a whole.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaussians.files.torch_file import load_dictionary, tensor_of
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json
from gaussians.stage.memory import check_memory

WHOLE = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
)
"""What transformers, accelerate and diffusers call a checkpoint of one file, the most exact first."""
PICKLED = ("pytorch_model.bin", "diffusion_pytorch_model.bin")
"""What they called it before safetensors."""
_INDEX = ".index.json"
_SHOWN = 3  # names of tensors in a message
_AGAIN = "download it again (`python -m tools.download checkpoints`)"
# What files begin with that a browser, curl or git has left in a checkpoint's place.
_NO_WEIGHTS = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS",
}


def require(library: str, extra: str = "perception") -> Any:
    """Import an optional library and return it.

    Args:
        library: its module.
        extra: the extra of the package that installs it.

    Raises:
        InputError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name == library.partition(".")[0]:
            install = f"pip install '.[{extra}]', or bash setup_env.sh"
            raise InputError(f"{error.name} is not installed: {install}, in the repository") from None
        raise InputError(f"{library} cannot be imported: {error}") from None
    except ImportError as error:
        raise InputError(f"{library} cannot be imported: {error}") from None


def check_free_memory(device: torch.device | str, needed: int, what: str, advice: str) -> None:
    """Refuse to begin what a GPU has no memory for.

    Args:
        device: a CPU or a GPU.
        needed: bytes, at least.
        what: who needs them.
        advice: what to lower, such as "lower --max_side".

    Raises:
        InputError: less is free.
    """
    device = torch.device(device)
    free = None
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        # What PyTorch holds and does not use is free for us.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        check_memory(needed, what, free)
    except InputError as error:
        raise InputError(f"{error} on {device}: {advice}") from None


def read_checkpoint(path: str | Path, entry: str | None = None) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint onto the CPU, mapped into memory where the format allows it.

    Args:
        path: a .safetensors file, a pickle (.pt, .pth, .pkl, .bin), or a folder with either, in one or several files.
        entry: the name of the tensors' dictionary, where a pickle holds several things.

    Returns:
        the tensors by name, in their own types.

    Raises:
        InputError: it is missing, truncated, a web page, or holds code or anything but tensors; parts of it are
            missing.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder: expected a checkpoint")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    contents = read_pickle(path)
    if entry is not None:
        found = contents.get(entry)
        if not isinstance(found, dict):
            present = ", ".join(str(key) for key in list(contents)[:_SHOWN]) or "nothing"
            raise InputError(f"{path}: expected tensors in an entry {entry!r}, found {present}")
        contents = found
    return {str(name): tensor_of(path, contents, name) for name in contents}


def read_pickle(path: str | Path) -> dict[Any, Any]:
    """Read the dictionary of tensors, plain values, lists and dictionaries that a pickle of PyTorch holds.

    Raises:
        InputError: it is missing, truncated, a web page, or holds code or anything but these.
    """
    _check_weights(Path(path))
    return load_dictionary(path, mapped=True)


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, ignored: Iterable[str] = (), what: str = ""
) -> None:
    """Give a module the tensors of a checkpoint, in their own types, and make it ready for inference.

    The module may be on the meta device, as far as the checkpoint has its parameters and buffers. Afterwards it is in
    evaluation mode, without gradients.

    Args:
        tensors: by the module's own names.
        path: the checkpoint, for messages.
        ignored: names, also patterns as in a shell, of tensors that the module has no use for.
        what: the model, for messages; by default the module's class.

    Raises:
        InputError: the tensors are another model's: some are missing, unknown, or of other shapes.
        ValueError: the module has buffers on the meta device that no checkpoint holds.
    """
    patterns = tuple(ignored)
    used = {name: tensor for name, tensor in tensors.items() if not _fits(name, patterns)}
    expected = module.state_dict()
    missing = [name for name in expected if name not in used]
    unknown = [name for name in used if name not in expected]
    shaped = [
        f"{name} {tuple(used[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in used and used[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {complaint} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for complaint, names in (("missing", missing), ("unknown", unknown), ("of another shape", shaped))
        if names
    ]
    if problems:
        what = what or type(module).__name__
        raise InputError(f"{path}: not a checkpoint of {what}: of {len(expected)} tensors {', '.join(problems)}")
    module.load_state_dict(used, strict=True, assign=True)
    if unset := [name for name, buffer in module.named_buffers() if buffer.is_meta]:
        raise ValueError(f"module: buffers on the meta device that no checkpoint holds: {', '.join(unset)}")
    module.eval().requires_grad_(False)


def renamed_encoder(tensors: Mapping[str, Tensor], encoder: str, names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Return tensors with those of a published vision transformer by transformers' names.

    Queries, keys and values, which are published as one tensor, come apart.

    Args:
        tensors: all of a model.
        encoder: what the names of the transformer's start with, up to their first dot.
        names: parts of published names, and what they become, in this order.

    Raises:
        InputError: a joint tensor cannot be parted in three.
    """
    found = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part != encoder:
            found[name] = tensor
            continue
        for old, new in names:
            rest = rest.replace(old, new)
        if rest.startswith("norm."):
            rest = f"layer{rest}"
        if ".attn.qkv." not in rest:
            found[f"{part}.{rest}"] = tensor
            continue
        if len(tensor) % 3:
            raise InputError(f"{name}: expected queries, keys and values, found {tuple(tensor.shape)}")
        for kind, third in zip("qkv", tensor.chunk(3), strict=True):
            found[f"{part}." + rest.replace(".attn.qkv.", f".attention.{kind}_proj.")] = third
    return found


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_weights(path: Path) -> None:
    """Refuse what a browser or git has left in a checkpoint's place.

    Raises:
        InputError: it is missing, empty, a web page or a pointer.
    """
    try:
        with path.open("rb") as file:
            start = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: expected a checkpoint") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not start:
        raise InputError(f"{path}: empty, not a checkpoint: {_AGAIN}")
    for begin, what in _NO_WEIGHTS.items():
        if start.startswith(begin):
            raise InputError(f"{path}: {what}, not a checkpoint: {_AGAIN}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors
    from safetensors.torch import load_file

    _check_weights(path)
    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: damaged, or no safetensors file: {error}") from None


def _read_folder(folder: Path) -> dict[str, Tensor]:
    for name in WHOLE:
        if (folder / name).is_file():
            return _read_safetensors(folder / name)
    # The full precision comes before its variants, whose names are longer.
    indices = sorted(folder.glob(f"*{_INDEX}"), key=lambda file: (".bin" in file.name, len(file.name)))
    if indices:
        return _read_shards(indices[0])
    for name in PICKLED:
        if (folder / name).is_file():
            return read_checkpoint(folder / name)
    expected = ", ".join((*WHOLE[:2], f"*.safetensors{_INDEX}", PICKLED[0]))
    raise InputError(f"{folder}: no checkpoint in this folder: expected any of {expected}")


def _read_shards(index: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint in several files.

    Raises:
        InputError: the index is none, or files or tensors that it names are missing or damaged.
    """
    contents = read_json(index)
    files = contents.get("weight_map") if isinstance(contents, dict) else None
    if not isinstance(files, dict) or not files or not all(isinstance(name, str) for name in files.values()):
        raise InputError(f"{index}: expected a weight_map with the file of each tensor")
    names = sorted(set(files.values()))
    if leading := [name for name in names if Path(name).name != name]:
        raise InputError(f"{index}: {leading[0]}: leads out of the folder")
    if absent := [name for name in names if not (index.parent / name).is_file()]:
        raise InputError(
            f"{index.parent}: {len(absent)} of {len(names)} parts missing ({', '.join(absent[:_SHOWN])}): {_AGAIN}"
        )
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors |= read_checkpoint(index.parent / name)
    if lost := [name for name in files if name not in tensors]:
        raise InputError(f"{index}: {len(lost)} tensors are not in its files ({', '.join(lost[:_SHOWN])})")
    return tensors

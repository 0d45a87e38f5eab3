"""Read dictionaries of tensors from .pt files without unpickling code and without trusting the sizes they declare."""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from gaussians.stage.errors import InputError

_TYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
)
MAX_REPEATED = 2**24
"""The most values of a tensor that a file holds once and repeats by strides."""


def load_dictionary(path: str | Path, mapped: bool = False) -> dict[Any, Any]:
    """Read the dictionary of tensors and plain values that a .pt file holds, onto the CPU.

    Args:
        mapped: whether the file may be mapped into memory, and read when a tensor is first used; it must not change.

    Raises:
        InputError: the file is missing, damaged, compressed, or holds anything but a dictionary of tensors and plain
            values.
    """
    try:
        # As PyTorch wrote files before version 1.6 they cannot be mapped.
        mapped = _check_members(path) and mapped
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except Exception as error:  # torch.load has no exception of its own for what it cannot or must not unpickle
        text = str(error)
        reason = (text.splitlines() or [type(error).__name__])[0]
        if code := re.search(r"GLOBAL ([\w.]+)", text):  # PyTorch's first line would advise to run it
            reason = f"it holds {code[1]}, which may be code and is not run"
        raise InputError(f"{path}: expected a dictionary of tensors: {reason}") from None
    if not isinstance(contents, dict):
        raise InputError(f"{path}: expected a dictionary of tensors, found {type(contents).__name__}")
    return contents


def _check_members(path: str | Path) -> bool:
    """Return whether a file is an archive, and refuse one with compressed members.

    They may be far larger than the file, and torch.save's are never compressed.

    Raises:
        InputError: a member is compressed, or is declared larger than the file.
    """
    if not zipfile.is_zipfile(path):  # as PyTorch wrote before version 1.6
        return False
    size = Path(path).stat().st_size
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
                raise InputError(f"{path}: {member.filename}: expected an archive that is not compressed")
    return True


def tensor_of(path: str | Path, contents: dict[Any, Any], name: str) -> torch.Tensor:
    """Return the tensor ``name`` of a .pt file's dictionary, which is dense and holds real numbers.

    Raises:
        InputError: it is missing, of another type, not dense, or has more than ``MAX_REPEATED`` values of which the
            file holds fewer.
    """
    tensor = contents.get(name)
    if not isinstance(tensor, torch.Tensor):
        present = ", ".join(sorted(str(key) for key in contents)) or "nothing"
        raise InputError(f"{path}: no tensor {name!r}: found {present}")
    if tensor.layout != torch.strided or tensor.is_nested or tensor.dtype not in _TYPES or tensor.device.type != "cpu":
        found = f"{tensor.dtype} on {tensor.device}, {tensor.layout}"
        raise InputError(f"{path}: {name}: expected real numbers in a dense tensor, found {found}")
    stored = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > max(stored, MAX_REPEATED):
        raise InputError(f"{path}: {name}: {tensor.numel()} values declared, of which the file holds {stored}")
    return tensor.detach()  # a parameter of a model is saved with its wish for a gradient

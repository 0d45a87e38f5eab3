"""Damage files at random: their bytes, and by kind what their structure means."""

import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.torch import load, save

# Texts of JSON values, among them some that Python's writer would not write.
JSON_TEXTS = (
    *("null", "true", "[]", "{}", '""', "0", "-1", "-0.0", "1e308", "-1e308", "1e400", "5e-324", "NaN", "Infinity"),
    *("9" * 401, "2147483648", "-2147483649", "9223372036854775808", "1e-320", "0.1", '"x"', '"../../x"', "1000000"),
    *('"\\ud800"', '"' + "a" * 5000 + '"', "[" * 900 + "]" * 900, "[0]", "[1, 2, 3]", '["a"]', '{"a": 1}', "[[1]]"),
    *('"/dev/zero"', '"jelly"', '"auto"', '"a\\nb"', '"\\u0000"', "[1e308, 1e308, 1e308]", "[null, null, null]"),
)
NUMBERS = (
    *("0", "-1", "1", "2", "3", "255", "256", "65536", "2147483647", "2147483648", "4294967296", "999999999999"),
    *("9" * 30, "1e5", "nan", "inf", "-inf", "1e39", "1e400", "0x10", "1_0", "+1", "1.5", ""),
)
WORDS = (
    *("vertex", "chunk", "sh", "face", "x", "float", "double", "uchar", "int", "list", "char", "property", "element"),
    *("comment", "obj_info", "format", "ascii", "binary_little_endian", "binary_big_endian", "end_header", "ply"),
    *("f_rest_44", "filter_3D", "red", "scale_2", "packed_color", "f_rest_0", "opacity", "1.0"),
)
LENGTHS = (0, 1, 2, 3, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Overwrite, cut, repeat, insert and swap bytes, more often near the ends, where headers and indices are."""
    for _ in range(random.randint(1, 4)):
        size = len(data)
        near = random.choice((size, size, 64, 512, -512))
        at = random.randrange(size + 1) if abs(near) >= size else random.randrange(near) if near > 0 else size + near
        at, length = max(0, min(at, size)), random.choice((1, 1, 2, 4, 8, 32, 500))
        match random.randrange(7):
            case 0:
                number = random.choice(LENGTHS)
                width, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
                value = (number % 2 ** (8 * width)).to_bytes(width, order)
                data = data[:at] + value + data[at + width :]
            case 1:
                number = random.choice((float("nan"), float("inf"), -1e30, 1e-40, 0.0, -0.0, 3e38))
                data = data[:at] + struct.pack(random.choice("<>") + "f", number) + data[at + 4 :]
            case 2:
                data = data[:at] + data[at + length :]
            case 3:
                data = data[:at] + data[at : at + length] + data[at:]
            case 4:
                data = data[:at] + random.randbytes(length) + data[at:]
            case 5:
                data = data[:at]
            case _:
                flipped = bytes(byte ^ 1 << random.randrange(8) for byte in data[at : at + 1])
                data = data[:at] + flipped + data[at + 1 :]
    return data


def mutate_ply(data: bytes, random: Random) -> bytes:
    """Change lines and words of the header, and at times of text rows, or bytes anywhere."""
    head, mark, body = data.partition(b"end_header\n")
    if random.random() < 0.4 or not mark:
        return mutate_bytes(data, random)
    if random.random() < 0.2:
        return _mutate_lines((head + mark + body).decode("latin-1"), random).encode("latin-1", errors="replace")
    changed = _mutate_lines((head + mark).decode("latin-1"), random)
    return changed.encode("latin-1", errors="replace") + body


def _mutate_lines(text: str, random: Random) -> str:
    lines = text.split("\n")
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(lines)) if lines else 0
        match random.randrange(6):
            case 0:
                lines[at : at + 1] = []
            case 1:
                lines.insert(at, random.choice(lines or [""]))
            case 2:
                other = random.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines[at] = re.sub(r"\d+", lambda _: random.choice(NUMBERS), lines[at], count=1)
            case 4:
                words = lines[at].split(" ")
                words[random.randrange(len(words))] = random.choice(WORDS + NUMBERS)
                lines[at] = " ".join(words)
            case _:
                lines.insert(at, "comment " + "".join(chr(random.randrange(32, 256)) for _ in range(9)))
        lines = lines or [""]
    return "\n".join(lines)


def mutate_json(data: bytes, random: Random) -> bytes:
    """Replace, remove, rename and repeat values of a tree, or change bytes of its text."""
    if random.random() < 0.1:
        return mutate_bytes(data, random)
    value, texts = json.loads(data), {}

    def placeholder() -> str:
        name = f"@@{len(texts)}@@"
        texts[f'"{name}"'] = random.choice(JSON_TEXTS)
        return name

    for _ in range(random.randint(1, 3)):
        value = _mutate_tree(value, random, placeholder)
    text = json.dumps(value, indent=random.choice((None, 1)))
    for name, replacement in texts.items():
        text = text.replace(name, replacement)
    if random.random() < 0.1:  # a key that stands twice
        text = re.sub(r'("\w+": )', r"\g<1>0, \g<1>", text, count=1)
    return (b"\xef\xbb\xbf" if random.random() < 0.05 else b"") + text.encode("utf-8", errors="surrogatepass")


def _mutate_tree(value: Any, random: Random, placeholder: Callable[[], str]) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.85:
        key, action = random.choice(list(value)), random.random()
        if action < 0.1:
            return {name: inner for name, inner in value.items() if name != key}
        if action < 0.2:
            return {
                random.choice((key + "x", "", "a\nb", "0", "label")) if n == key else n: v for n, v in value.items()
            }
        if action < 0.3:
            return value | {random.choice(("extra", "format_version", "name", "index")): placeholder()}
        return value | {key: _mutate_tree(value[key], random, placeholder)}
    if isinstance(value, list) and value and random.random() < 0.85:
        at, action = random.randrange(len(value)), random.random()
        if action < 0.1:
            return value[:at] + value[at + 1 :]
        if action < 0.2:
            return value[:at] + value[at:] * random.choice((2, 50))
        return [*value[:at], _mutate_tree(value[at], random, placeholder), *value[at + 1 :]]
    return placeholder()


def mutate_npy(data: bytes, random: Random) -> bytes:
    """Declare another shape or type, store other values, or change bytes."""
    if random.random() < 0.4:
        return mutate_bytes(data, random)
    array, buffer = np.load(io.BytesIO(data)), io.BytesIO()
    if random.random() < 0.5:
        header = {
            "descr": random.choice(("<i4", "<u8", "<f8", ">i2", "|b1", "|O", "<c16", "<U9", "|V3")),
            "fortran_order": random.random() < 0.3,
            "shape": random.choice(((), (0,), (1,), (10**9,), (10**15,), (2**62,), (2, 3), (40, 1), (-1,), (40,))),
        }
        np.lib.format.write_array_header_1_0(buffer, header)
        return buffer.getvalue() + array.tobytes()
    values = array.astype(random.choice((np.int64, np.uint64, np.int8, np.float32, np.int32)))
    if len(values):
        values[random.randrange(len(values))] = random.choice((0, 1, 5, 127))
        if values.dtype.itemsize == 8:
            values[random.randrange(len(values))] = random.choice((2**31, 2**32, 2**62))
    np.save(buffer, random.choice((values, values[:-1], np.tile(values, 2), values[None])))
    return buffer.getvalue()


def mutate_hdf5(data: bytes, random: Random) -> bytes:
    """Write the datasets anew with another type, shape, storage or kind of link, or change bytes."""
    if random.random() < 0.5:
        return mutate_bytes(data, random)
    with h5py.File(io.BytesIO(data)) as file:
        arrays = {name: np.asarray(file[name]) for name in file}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        chosen = random.choice(list(arrays))
        for name, array in arrays.items():
            if name != chosen:
                file[name] = array
        _write_oddly(file, chosen, arrays[chosen], random)
    return buffer.getvalue()


def _write_oddly(file: h5py.File, name: str, array: np.ndarray, random: Random) -> None:
    trailing = array.shape[1:]
    rows = random.choice((10**9, 10**7, 2**40))
    match random.randrange(14):
        case 0:
            return
        case 1:
            file.create_dataset(name, (rows, *trailing), "f4")
        case 2:
            file.create_dataset(name, (rows, *trailing), "f2", chunks=(1000, *trailing))
        case 3:
            file.create_dataset(name, array.shape, "f4", chunks=(10**7, *trailing), maxshape=(None, *trailing))
        case 4:
            file.create_dataset(name, array.shape, "f4", external=[("/etc/hostname", 0, 4 * array.size)])
        case 5:
            file[name] = h5py.ExternalLink(random.choice(("0001.h5", "/etc/passwd", "nowhere.h5")), "pos")
        case 6:
            file[name] = h5py.SoftLink(random.choice((f"/{name}", "/vel", "/nowhere")))
        case 7:
            file.create_group(name)
        case 8:
            file[name] = random.choice((h5py.Empty("f4"), "text", 1.0, np.zeros(0, np.float32)))
        case 9:
            file[name] = array.astype(random.choice((np.complex64, np.int8, np.float64, np.bool_, np.uint64)))
        case 10:
            file[name] = random.choice((array[:-1], array[..., None], array.T, np.concatenate([array, array])))
        case 11:
            bad = array.astype(np.float64)
            bad.flat[random.randrange(bad.size)] = random.choice((np.nan, np.inf, 1e300, -1e30, 1e-320))
            file[name] = bad
        case 12:
            layout = h5py.VirtualLayout(array.shape, "f4")
            layout[...] = h5py.VirtualSource("0001.h5", "pos", array.shape)
            file.create_virtual_dataset(name, layout)
        case _:
            kinds = np.zeros(len(array) if array.ndim else 1, [("a", "f4"), ("b", "i4")])
            file[name] = kinds


def mutate_pt(data: bytes, random: Random) -> bytes:
    """Save the dictionary anew with another type, shape or storage of a tensor, or change bytes."""
    if random.random() < 0.4:
        return mutate_bytes(data, random)
    contents = torch.load(io.BytesIO(data), weights_only=True)
    name = random.choice(list(contents))
    tensor = contents[name]
    changes: tuple[Callable[[], Any], ...] = (
        lambda: tensor[:1].expand(10**9, *tensor.shape[1:]),
        lambda: torch.zeros(1).as_strided((2**40,), (0,)),
        lambda: torch.empty(10**9, 3, device="meta"),
        lambda: tensor.to(torch.float8_e4m3fn),
        lambda: tensor.to(random.choice((torch.complex64, torch.bool, torch.int64, torch.float64, torch.bfloat16))),
        lambda: tensor.to_sparse(),
        lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
        lambda: tensor * random.choice((torch.nan, torch.inf, 1e30, 0.0)),
        lambda: random.choice((tensor[:-1], tensor[None], tensor[..., None], tensor.flatten(), tensor.mT)),
        lambda: random.choice((None, 3, "text", [tensor], {"a": tensor}, torch.tensor(0.0), torch.zeros(0, 3))),
        lambda: torch.nn.Parameter(tensor.float()),
    )
    try:
        changed = contents | {name: random.choice(changes)()}
    except (RuntimeError, NotImplementedError):  # a type that a tensor cannot have
        changed = {key: value for key, value in contents.items() if key != name}
    buffer = io.BytesIO()
    torch.save(changed if random.random() < 0.95 else [changed], buffer)
    return buffer.getvalue()


def mutate_safetensors(data: bytes, random: Random) -> bytes:
    """Change the header's tree, a tensor, or bytes."""
    action = random.random()
    if action < 0.3:
        return mutate_bytes(data, random)
    size = int.from_bytes(data[:8], "little")
    if action < 0.7:
        head = mutate_json(data[8 : 8 + size], random)
        return len(head).to_bytes(8, "little") + head + data[8 + size :]
    tensors = load(data)
    name = random.choice(list(tensors))
    tensor = tensors.pop(name)
    if random.random() < 0.8:
        kinds = (torch.float8_e4m3fn, torch.int64, torch.float16, torch.bool, torch.float64)
        tensors[name] = random.choice(
            (tensor * torch.nan, tensor.flatten(), tensor[None], tensor.to(random.choice(kinds)))
        )
    return save({key: value.contiguous() for key, value in tensors.items()})


def mutate_spz(data: bytes, random: Random) -> bytes:
    """Change what is inside the compression, or bytes of the file."""
    if random.random() < 0.4 or data[:2] != b"\x1f\x8b":
        return mutate_bytes(data, random)
    plain = mutate_bytes(zlib.decompress(data, 31), random)
    packer = zlib.compressobj(wbits=31)
    return packer.compress(plain) + packer.flush()


MUTATORS: dict[str, Callable[[bytes, Random], bytes]] = {
    ".ply": mutate_ply,
    ".json": mutate_json,
    ".npy": mutate_npy,
    ".h5": mutate_hdf5,
    ".pt": mutate_pt,
    ".safetensors": mutate_safetensors,
    ".spz": mutate_spz,
}


def mutate_file(path: Path, random: Random) -> None:
    """Damage a file in the way that its suffix suggests; one that is damaged already, by its bytes."""
    data, mutate = path.read_bytes(), MUTATORS.get(path.suffix, mutate_bytes)
    try:
        damaged = mutate(data, random)
    except Exception:
        damaged = mutate_bytes(data, random)
    path.write_bytes(damaged)

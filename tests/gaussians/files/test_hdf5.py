import h5py
import numpy as np
import pytest
import torch

from gaussians.files.hdf5 import read_values, write_hdf5
from gaussians.files.storage_options import COMPRESSIONS
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.gaussians.samples import rest_gaussians, write_ours

CHECKED = [compression for compression in COMPRESSIONS if compression != "none"]
# Smooth, as positions are; of more than one chunk.
VALUES = np.linspace(-1, 1, 900_000, dtype=np.float32).reshape(-1, 3)


def flip_a_byte_of(path, name):
    """Damage the stored bytes of the middle chunk of a dataset."""
    with h5py.File(path) as file:
        dataset = file[name]
        chunk = dataset.id.get_chunk_info(dataset.id.get_num_chunks() // 2)
        place = chunk.byte_offset + chunk.size // 2
    contents = bytearray(path.read_bytes())
    contents[place] ^= 0x10
    path.write_bytes(contents)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_trajectory_is_read_back_whatever_way_it_was_stored(tmp_path, compression, dtype):
    frames = write_ours(tmp_path / "scene", compression=compression, dtype=dtype)
    reader = TrajectoryReader(tmp_path / "scene")
    for written, read in zip(frames, reader.frames(), strict=True):
        assert torch.equal(read.means, written.means.to(getattr(torch, dtype)).float())
        assert torch.equal(read.covariances, written.covariances)
    assert torch.equal(reader.sh, rest_gaussians().sh.to(getattr(torch, dtype)).float())


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_called_compressed_is_smaller_and_what_has_checksums_says_so(tmp_path, compression):
    write_hdf5(tmp_path / "a.h5", {"pos": VALUES, "scalar": np.float32(3)}, compression)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["pos"].fletcher32 is (compression != "none")
        assert np.array_equal(file["pos"], VALUES)
        assert file["scalar"][()] == 3
    size = (tmp_path / "a.h5").stat().st_size
    if compression in ("gzip", "blosc-zstd"):
        assert size < VALUES.nbytes / 2
    else:
        assert size < VALUES.nbytes * 1.02


@pytest.mark.parametrize("compression", CHECKED)
def test_a_single_wrong_bit_is_detected_and_named(tmp_path, compression):
    path = tmp_path / "0001.h5"
    write_hdf5(path, {"pos": VALUES, "vel": VALUES}, compression)
    flip_a_byte_of(path, "vel")
    assert np.array_equal(read_values(path, "pos").numpy(), VALUES)
    with pytest.raises(InputError, match=r"0001\.h5: vel: truncated or damaged HDF5 file: its bytes do not fit"):
        read_values(path, "vel")


def test_settings_of_a_dataset_go_beside_the_compression(tmp_path):
    write_hdf5(tmp_path / "a.h5", {"pos": VALUES}, "gzip", chunks=(1000, 3))
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["pos"].chunks, file["pos"].compression, file["pos"].fletcher32) == ((1000, 3), "gzip", True)


def test_arrays_of_no_rows_are_stored_too(tmp_path):
    write_hdf5(tmp_path / "a.h5", {"pos": np.zeros((0, 3), np.float32)}, "blosc-zstd")
    assert read_values(tmp_path / "a.h5", "pos").shape == (0, 3)


def test_values_of_another_file_are_never_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(range(40)))
    write_hdf5(tmp_path / "other.h5", {"pos": VALUES})
    layout = h5py.VirtualLayout(shape=(3, 3), dtype="f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "pos", shape=VALUES.shape)[:3]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("external", (10,), "f4", external=[(str(tmp_path / "secret"), 0, 40)])
        file.create_virtual_dataset("virtual", layout)
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "pos")
        file["loop"] = h5py.SoftLink("/loop")
    for name in ("external", "virtual"):
        with pytest.raises(InputError, match=rf"a\.h5: {name}: expected values in this file, found a reference"):
            read_values(tmp_path / "a.h5", name)
    for name in ("link", "loop"):
        with pytest.raises(InputError, match=rf"a\.h5: {name}: expected a dataset of this file, found a link"):
            read_values(tmp_path / "a.h5", name)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((10**9, 3), None), ((10**9, 3), (1000, 3)), ((2, 3), (10**8, 3))],
    ids=["contiguous", "chunked", "one large chunk"],
)
def test_rows_that_are_declared_and_not_stored_are_refused_unread(tmp_path, shape, chunks):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("pos", shape, "f4", chunks=chunks, maxshape=(None, 3) if chunks else None)
    assert (tmp_path / "a.h5").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"a\.h5: pos: 1?\d{10} bytes declared, of which the file holds 0"):
        read_values(tmp_path / "a.h5", "pos")


def test_values_that_compress_well_are_read(tmp_path):
    write_hdf5(tmp_path / "a.h5", {"shs": np.zeros((200_000, 16, 3), np.float32)}, "gzip")
    assert (tmp_path / "a.h5").stat().st_size < 2 * 10**5
    assert read_values(tmp_path / "a.h5", "shs").shape == (200_000, 16, 3)


def test_a_dataset_without_extent_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pos"] = h5py.Empty("f4")
    with pytest.raises(InputError, match=r"a\.h5: pos: expected real numbers"):
        read_values(tmp_path / "a.h5", "pos")

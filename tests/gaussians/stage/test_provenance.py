"""Records of what outputs were made from."""

import json
from pathlib import Path

import pytest

from gaussians.stage.errors import InputError
from gaussians.stage.provenance import FORMAT_VERSION, Provenance, differences, read_record

MADE_FROM = {"scene": "1234", "config": {"radius": 4.0, "views": [0, 1]}}


def made(tmp_path: Path, made_from: dict[str, object] | None = None) -> tuple[Provenance, Path, Path]:
    """A record with a file and a folder of two files as outputs."""
    video, pictures = tmp_path / "a.mp4", tmp_path / "rgb"
    pictures.mkdir()
    video.write_bytes(b"video")
    for i in range(2):
        (pictures / f"{i}.png").write_bytes(b"picture")
    provenance = Provenance(tmp_path / "a.json", made_from or MADE_FROM)
    provenance.write([video, pictures])
    return provenance, video, pictures


def test_outputs_made_from_the_same_are_current(tmp_path: Path) -> None:
    provenance, video, pictures = made(tmp_path)
    assert provenance.is_current([video, pictures])
    record = read_record(tmp_path / "a.json")
    assert record is not None
    assert record.outputs == {"a.mp4": 5, "rgb": 14}
    assert record.made_from == MADE_FROM


def test_nothing_there_is_not_current(tmp_path: Path) -> None:
    assert not Provenance(tmp_path / "a.json", MADE_FROM).is_current([tmp_path / "a.mp4"])


@pytest.mark.parametrize("damage", ["emptied", "cut short", "removed", "a picture removed"])
def test_outputs_that_are_not_whole_are_not_current(tmp_path: Path, damage: str) -> None:
    provenance, video, pictures = made(tmp_path)
    if damage == "removed":
        video.unlink()
    elif damage == "a picture removed":
        (pictures / "0.png").unlink()
    else:
        video.write_bytes(b"" if damage == "emptied" else b"vid")
    assert not provenance.is_current([video, pictures])


def test_what_was_made_from_something_else_is_refused_by_name(tmp_path: Path) -> None:
    _, video, _ = made(tmp_path)
    other = {"scene": "5678", "config": {"radius": 5.0, "views": [0, 1]}}
    with pytest.raises(InputError, match=r"a\.json: made with other scene, config\.radius; --overwrite makes it again"):
        Provenance(tmp_path / "a.json", other).is_current([video])


def test_another_output_of_the_same_record_is_refused_too(tmp_path: Path) -> None:
    """Pictures of a new simulation beside the video of an old one would be taken for one."""
    made(tmp_path)
    with pytest.raises(InputError, match="made with other scene"):
        Provenance(tmp_path / "a.json", MADE_FROM | {"scene": "5678"}).is_current([tmp_path / "masks"])


def test_output_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"video")
    for record in (None, "{}", '{"format_version": 99, "made_from": {}, "outputs": {}}'):
        if record is not None:
            (tmp_path / "a.json").write_text(record)
        with pytest.raises(InputError, match=r"a\.mp4: nothing says what it was made from"):
            Provenance(tmp_path / "a.json", MADE_FROM).is_current([video])


def test_overwriting_removes_what_was_made_from_something_else(tmp_path: Path) -> None:
    _, video, pictures = made(tmp_path)
    (tmp_path / "mine.txt").write_text("kept")
    other = Provenance(tmp_path / "a.json", MADE_FROM | {"scene": "5678"})
    other.begin()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "mine.txt"]
    video.write_bytes(b"new video")
    other.write([video])
    assert other.is_current([video])
    assert not other.is_current([pictures])


def test_outputs_made_from_the_same_share_a_record(tmp_path: Path) -> None:
    provenance, video, pictures = made(tmp_path)
    masks = tmp_path / "masks.h5"
    masks.write_bytes(b"masks")
    provenance.begin()
    provenance.write([masks])
    assert provenance.is_current([video, pictures, masks])


def test_differences_name_what_is_missing_on_either_side() -> None:
    assert differences({"a": 1, "b": None}, {"a": 1}) == ["b"]
    assert differences({}, {"c": {"d": 1}}) == ["c"]
    assert differences({"c": {"d": 1, "e": 2}}, {"c": {"d": 1}}) == ["c.e"]


def test_record_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"format_version": FORMAT_VERSION + 1, "made_from": {}, "outputs": {}}))
    with pytest.raises(InputError, match="format_version: expected at most 1, found 2"):
        read_record(path)


def test_run_after_a_kill_goes_on(tmp_path: Path) -> None:
    provenance = Provenance(tmp_path / "a.json", MADE_FROM)
    provenance.begin()
    (tmp_path / "a.mp4").write_bytes(b"video")  # and here the program was killed
    assert not provenance.is_current([tmp_path / "a.mp4"])


@pytest.mark.parametrize("name", ["../precious.txt", "/etc/precious.txt", "rgb/../../precious.txt", "", "a\\..\\b"])
def test_record_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "precious.txt").write_text("precious")
    (folder / "a.json").write_text(json.dumps({"made_from": {}, "outputs": {name: 8}, "code_version": "1"}))
    with pytest.raises(InputError, match="expected a path below the record's folder"):
        read_record(folder / "a.json")
    Provenance(folder / "a.json", MADE_FROM).begin()
    assert (tmp_path / "precious.txt").read_text() == "precious"

"""One of many that fails, and the others."""

import pytest

from gaussians.stage.errors import InputError
from gaussians.stage.failures import reporting


def test_what_fails_is_named_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    failures: list[str] = []
    for number in (1, 0, 2):
        with reporting(failures, f"1 / {number}"):
            print(1 / number)
    with reporting(failures, "scene"):
        raise InputError("a.json: missing")
    assert failures == ["1 / 0: ZeroDivisionError('division by zero')", "scene: a.json: missing"]
    printed = capsys.readouterr()
    assert printed.out == "1.0\n0.5\n"
    assert printed.err.count("Traceback") == 1
    assert printed.err.endswith("scene: a.json: missing\n")


def test_a_closed_pipe_ends_all() -> None:
    with pytest.raises(BrokenPipeError), reporting([], "scene"):
        raise BrokenPipeError

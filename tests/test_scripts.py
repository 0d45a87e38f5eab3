"""The shell scripts and the contracts of the repository itself."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from dynamic_models import evaluate, train
from videogen import evaluate as evaluate_videos

ROOT = Path(__file__).resolve().parent.parent
SETUP = ROOT / "setup_env.sh"


def run_setup(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run setup_env.sh with the given variables and without any of an active environment."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ["bash", str(SETUP), *arguments]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=False)


def fake_python(directory: Path, version: str, has_venv: bool = True) -> None:
    """A ``python3`` that says it is ``version``."""
    directory.mkdir()
    program = directory / "python3"
    program.write_text(
        "#!/bin/bash\n"
        'case "$*" in\n'
        f"    *version_info*) echo {version} ;;\n"
        f"    *ensurepip*) exit {int(not has_venv)} ;;\n"
        "    *) exit 1 ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    # What the script calls before it asks for a Python, and nothing else, so that no other Python is found.
    for tool in ("bash", "dirname", "cat"):
        (directory / tool).symlink_to(
            next(path for path in (Path("/bin") / tool, Path("/usr/bin") / tool) if path.exists())
        )


@pytest.fixture
def bare_clone(tmp_path: Path) -> Path:
    """setup_env.sh and what it reads, without a .venv."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("setup_env.sh", "requirements.txt", "requirements-dev.txt"):
        (clone / name).write_bytes((ROOT / name).read_bytes())
    return clone


def run_in(clone: Path, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the clone's setup_env.sh with the programs of one directory."""
    command = [str(path / "bash"), str(clone / "setup_env.sh")]
    return subprocess.run(command, env={"PATH": str(path)} | environment, capture_output=True, text=True, check=False)


@pytest.fixture
def complete_environment(tmp_path: Path) -> Path:
    """An environment whose Python finds nothing missing."""
    program = tmp_path / "environment" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/bash\n")
    program.chmod(0o755)
    return tmp_path / "environment"


@pytest.mark.parametrize("variables", [("VIRTUAL_ENV",), ("CONDA_PREFIX",), ("VIRTUAL_ENV", "CONDA_PREFIX")])
def test_an_active_environment_is_taken_and_named(complete_environment, variables):
    done = run_setup("--dev", "--print_python", **dict.fromkeys(variables, str(complete_environment)))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{complete_environment}/bin/python\n", "")


@pytest.mark.parametrize("server_works", [True, False])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_share_gpus_do_so_through_mps(tmp_path, complete_environment, processes, server_works):
    programs = tmp_path / "programs"
    programs.mkdir()
    calls = tmp_path / "calls"
    server = programs / "nvidia-cuda-mps-control"
    server.write_text(f'#!/bin/bash\necho "${{1:-$(cat)}}${{1:+ ${{CUDA_VISIBLE_DEVICES-all}}}}" >> {calls}\n')
    server.chmod(0o755)
    if not server_works:  # PyTorch does not get to the GPU
        (complete_environment / "bin" / "python").write_text("#!/bin/bash\n[[ $2 != *torch* ]]\n")
    script = tmp_path / "script.sh"
    script.write_text(
        f"source {ROOT}/scripts/shards.sh\n"
        "pipe=CUDA_MPS_PIPE_DIRECTORY\n"
        'show() { echo "$1 of $2 on $CUDA_VISIBLE_DEVICES" ${!pipe:+through "${!pipe}"}; }\n'
        'each_shard show && echo "after: ${!pipe-}"\n'
    )
    logs = tmp_path / "logs"
    variables = {"PROCESSES": str(processes), "LOGS": str(logs), "VIRTUAL_ENV": str(complete_environment)}
    variables["CUDA_VISIBLE_DEVICES"] = "4,7"
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/")} | variables
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=True)
    shown = [(logs / f"script-{i}.log").read_text().split() for i in range(processes)]
    assert [line[:5] for line in shown] == [[str(i), "of", str(processes), "on", "47"[i % 2]] for i in range(processes)]
    shares = processes == 4
    assert [line[5:6] for line in shown] == [["through"] if shares and server_works else []] * processes
    assert (calls.read_text() if calls.exists() else "") == ("-d all\nquit\n" if shares else "")
    assert ("take turns" in done.stdout) == (shares and not server_works)
    assert done.stdout.endswith("after: \n")
    assert not any(Path(line[6]).exists() for line in shown if line[6:])


def test_the_base_environment_of_conda_is_left_alone(bare_clone, complete_environment, tmp_path):
    fake_python(tmp_path / "bin", "3.10")
    done = run_in(bare_clone, tmp_path / "bin", CONDA_PREFIX=str(complete_environment), CONDA_DEFAULT_ENV="base")
    assert "Python 3.10 has reached its end of life" in done.stderr


def test_a_conda_environment_without_python_is_named(bare_clone, tmp_path):
    fake_python(tmp_path / "bin", "3.12")
    done = run_in(bare_clone, tmp_path / "bin", CONDA_PREFIX=str(tmp_path / "empty"))
    assert done.returncode == 1
    assert "empty has no Python; conda install python" in done.stderr


@pytest.mark.parametrize(
    ("version", "has_venv", "message"),
    [
        ("3.10", True, "Python 3.10 has reached its end of life and is not supported; install Python 3.11"),
        ("3.8", True, "Python 3.8 has reached its end of life"),
        ("3.14", True, "Python 3.14 is newer than the pinned libraries support"),
        ("3.12", False, "Python 3.12 lacks its venv module; .* sudo apt install python3-venv"),
    ],
)
def test_an_unusable_python_is_named_with_the_way_out(bare_clone, tmp_path, version, has_venv, message):
    fake_python(tmp_path / "bin", version, has_venv)
    done = run_in(bare_clone, tmp_path / "bin")
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert not (bare_clone / ".venv").exists()


def test_an_unknown_argument_is_named():
    done = run_setup("--devel")
    assert (done.returncode, done.stdout) == (1, "")
    assert "unknown argument '--devel'" in done.stderr


@pytest.mark.parametrize(
    "script", ["setup_env.sh", "scripts/quickstart.sh", "scripts/pipeline.sh", "scripts/results.sh"]
)
def test_help_is_quick_and_free_of_side_effects(tmp_path, script):
    command = ["bash", str(ROOT / script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert script.split("/")[-1] in done.stdout
    assert not list(tmp_path.iterdir())


def test_everything_that_the_results_are_made_with_is_called_with_flags_that_exist(tmp_path):
    """A Python that writes down what it is called with stands for the real one."""
    program, calls = tmp_path / "bin" / "python", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(f'#!/bin/bash\nif [[ $1 == -m ]]; then printf "%s\\n" "$*" >>{calls}; fi\n')
    program.chmod(0o755)
    results = tmp_path / "results"
    environment = os.environ | {
        "VIRTUAL_ENV": str(tmp_path),
        "RESULTS": str(results),
        "DATA_ROOT": str(tmp_path / "data"),
    }
    environment["PROCESSES"] = "1"  # one after another: the order of the calls is known
    command = ["bash", str(ROOT / "scripts/results.sh")]
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    made: dict[str, list[list[str]]] = {}
    for line in calls.read_text().splitlines():
        _, module, *flags = line.split()
        made.setdefault(module, []).append(flags)
    simulated = [flags[flags.index("--model_path") + 1].split("/")[-1] for flags in made["dataset.gs_simulation_scene"]]
    tested = ["3_9", "4", "5", "6", "3_novel"]
    assert list(dict.fromkeys(simulated)) == ["3_0", "3_8", "4", "5", "6", "3_novel", "2_0", "3_9"] + [
        f"{group}_shifted" for group in tested
    ]
    trained = [train.parse_args(flags) for flags in made["dynamic_models.train"]]
    assert [args.output.name for args in trained[:6]] == [
        *("ngff", "ngff_impulses", "pointformer", "gcn", "rigidformer", "default"),
    ]
    assert {args.time_limit for args in trained[:5]} == {1200}
    assert [args.groups for args in trained[:3]] == [("3_0", "2_0"), ("3_0", "2_0"), ("3_0",)]
    assert {args.time_limit for args in trained[5:]} == {360}
    measured = [evaluate.parse_args(flags) for flags in made["dynamic_models.evaluate"]]
    assert [args.models[0] for args in measured] == ["ngff", "ngff"]
    assert all("floor" in args.models for args in measured)
    calls.unlink()
    (results / "config.json").touch()
    background = tmp_path / "data" / "backgrounds" / "table6" / "gaussians_feedforward.ply"
    background.parent.mkdir(parents=True)
    background.touch()
    subprocess.run([*command, "videos"], env=environment | {"VIDEO_SCENES": "12"}, check=True, timeout=60)
    flags = calls.read_text().splitlines()[-1].split()[2:]
    videos = evaluate_videos.parse_args(flags)
    assert [each.groups for each in videos.sets] == [("3_videos",), ("4_videos", "5_videos", "6_videos")]
    assert (videos.scenes, videos.checkpoint, videos.output) == (12, results / "ngff", results / "videos")
    calls.unlink()
    fine = environment | {"SCALE": "fine", "TRAIN_SECONDS": "370"}
    subprocess.run([*command, "models report"], env=fine, check=True, timeout=60)
    made = [line.split()[2:] for line in calls.read_text().splitlines()]
    trained = [train.parse_args(flags) for flags in made if "--time_limit" in flags]
    assert [(each.output.name, each.num_keypoints) for each in trained if each.dynamic_model == "ngff"] == [
        ("ngff", 512),
        ("ngff_2048", 2048),
    ]
    assert "ngff_2048" in evaluate.parse_args(next(flags for flags in made if "--rollouts" in flags)).models
    done = subprocess.run([*command, "moels"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "results: error: unknown part 'moels' (--help shows what there is)\n")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned(name):
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.match(r"[A-Za-z0-9_-]+==\d[\w.]*(  # .*)?$", line)] == []


def test_every_command_is_listed_in_the_contract_that_nobody_imports_one():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = contracts["root_packages"]
    listed = {name for contract in contracts["contracts"] for name in contract.get("protected_modules", ())}
    commands = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    assert listed == commands

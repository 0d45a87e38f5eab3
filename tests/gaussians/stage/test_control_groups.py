"""Limits of control groups, in both of their versions."""

from pathlib import Path

from gaussians.stage.control_groups import cpu_quotas, free_memory_of_groups


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_limits_of_one_hierarchy_for_all_controllers(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "0::/job/step")
    write(tmp_path / "job/cpu.max", "250000 100000")
    write(tmp_path / "job/step/cpu.max", "max 100000")
    assert list(cpu_quotas(tmp_path, own)) == [2.5]
    write(tmp_path / "job/step/memory.max", "max")
    write(tmp_path / "job/memory.max", "1000")
    write(tmp_path / "job/memory.current", "700")
    assert list(free_memory_of_groups(tmp_path, own)) == [300]
    write(tmp_path / "job/memory.stat", "anon 500\ninactive_file 200\nactive_file 0")
    assert list(free_memory_of_groups(tmp_path, own)) == [500]


def test_limits_of_a_hierarchy_for_each_controller(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "4:memory:/box\n1:cpu,cpuacct:/box\n0::/")
    write(tmp_path / "cpu,cpuacct/box/cpu.cfs_quota_us", "150000")
    write(tmp_path / "cpu,cpuacct/box/cpu.cfs_period_us", "100000")
    write(tmp_path / "cpu,cpuacct/cpu.cfs_quota_us", "-1")
    write(tmp_path / "cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert list(cpu_quotas(tmp_path, own)) == [1.5]
    write(tmp_path / "memory/box/memory.limit_in_bytes", "1000")
    write(tmp_path / "memory/box/memory.usage_in_bytes", "1200")
    assert list(free_memory_of_groups(tmp_path, own)) == [0]


def test_without_control_groups_there_are_no_limits(tmp_path: Path) -> None:
    assert not list(cpu_quotas(tmp_path, tmp_path / "none"))
    assert not list(free_memory_of_groups(tmp_path, tmp_path / "none"))

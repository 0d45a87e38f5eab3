import json
from pathlib import Path

from dynamic_models.training.training_state import MetricsLog


def test_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    for i in range(1, 6):
        log.write({"iteration": i})
    log.close()
    MetricsLog(tmp_path / "metrics.jsonl", 3).close()
    assert [json.loads(line)["iteration"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
    ]

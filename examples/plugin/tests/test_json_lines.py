import json
from math import nan

from ssl_norm_example.json_lines import JsonLines


def test_a_line_for_each_row(tmp_path):
    for step in (1, 2):  # the second run continues
        logger = JsonLines(tmp_path, step - 1)
        logger.row({"step": step, "loss": 0.5, "rank_me": nan, "verdict": "healthy"})
        logger.close()
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows == [{"step": step, "loss": 0.5, "verdict": "healthy"} for step in (1, 2)]

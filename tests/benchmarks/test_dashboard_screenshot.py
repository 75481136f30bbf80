import sys

import pytest

from benchmarks.dashboard_screenshot import main


def test_a_missing_browser_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), "--chromium", "no-such-browser"])
    with pytest.raises(SystemExit, match="--chromium=no-such-browser: no such program"):
        main()


def test_a_folder_without_runs_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), "--chromium", "ls"])
    with pytest.raises(SystemExit, match="has no TensorBoard files"):
        main()

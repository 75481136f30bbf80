from ssl_norm.report.provenance import commands, provenance
from ssl_norm.report.read import find_runs, read_runs
from tests.report.run_folders import config_of, write_run, write_study


def test_values_with_their_runs_and_commands_once(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path / "x", config_of(heads="ln"), environment={"commit": "ff", "command": "a b"})
    runs = read_runs(find_runs([tmp_path]))
    found = provenance(runs)
    assert found["commit"] == "0123456789ab (6 runs); ff (1 run)"
    assert found["hardware"] == "AMD EPYC, 2 threads"
    assert " to " in found["files written"]
    assert commands(runs) == [
        "python tools/pretrain.py -m norm.projector=bn,none seed=0,1",
        "python a b",
        "python tools/linear_eval.py checkpoint=x",
    ]

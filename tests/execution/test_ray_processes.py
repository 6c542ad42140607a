"""Nodes that go away, and a head that is killed: real processes, each with a Ray of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="needs the extra ray")

from ray_engine import (  # noqa: E402
    QUIET,
    RUNS,
    SMALL,
    Faulty,
    a_study,
    by_this_process,
    copied_into_workers,
    tables,
)

from transferscope import store as results  # noqa: E402
from transferscope.execution import local  # noqa: E402
from transferscope.execution import ray as on_ray  # noqa: E402
from transferscope.execution.runner import run_study  # noqa: E402
from transferscope.store.progress import progress_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path):
    (tmp_path / "marks").mkdir()
    return a_study(tmp_path)


@pytest.fixture
def two_nodes():
    """A cluster of two nodes with a CPU each; the second one."""
    with warnings.catch_warnings():  # of Ray's own, about files it leaves open
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        soon = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 0}
        node = {"num_cpus": 1, "object_store_memory": SMALL["object_store_memory"]}
        first = node | {"include_dashboard": False, "_system_config": soon}
        cluster = Cluster(initialize_head=True, head_node_args=first)
        try:
            second = cluster.add_node(**node)
            ray.init(cluster.address, **QUIET)
            yield cluster, second
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.mark.slow  # a worker that is killed in `test_ray.py` is as lost, and takes seconds
def test_a_node_goes_away_and_the_other_does_its_work(two_nodes, study, tmp_path):
    copied_into_workers()
    cluster, second = two_nodes
    lab, doing, gone = Faulty(tmp_path / "marks", pause=1.2), {}, []

    def on_event(event):
        doing[event.worker] = event.doing
        if not gone and all(doing.get(name) for name in ("w1", "w2")):  # both at work
            gone.append(event)
            cluster.remove_node(second, allow_graceful=False)

    executor = partial(on_ray.carry_out, workers=2, load=lab.load)
    small = a_study(tmp_path, **{"fleet: 3": "fleet: 1"})
    outcome = run_study(small, tmp_path / "out", on_event=on_event, executor=executor)
    assert (len(gone), outcome.failed) == (1, ())
    log = results.logged(tmp_path / "out")
    assert [line["event"] for line in log].count("lost") == 1
    assert tables(tmp_path / "out") == by_this_process(study, tmp_path)


def started(folder):
    """A head with a Ray of its own, and all of its processes, once it has trained something."""
    import psutil

    script = [sys.executable, ROOT / "tests" / "ray_engine.py", folder]
    lab = Faulty(folder / "marks")
    before = len(lab.trained_runs)
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    head = subprocess.Popen(script, env=here, stderr=subprocess.PIPE, start_new_session=True)
    while len(lab.trained_runs) == before and head.poll() is None:
        time.sleep(0.05)
    assert head.poll() is None, head.stderr.read().decode()
    return head, psutil.Process(head.pid).children(recursive=True)


@pytest.mark.slow  # it starts Ray twice and waits for its end twice
def test_a_head_that_is_killed_leaves_nobody_behind_and_goes_on_later(study, tmp_path):
    import psutil

    head, others = started(tmp_path)
    assert len(others) >= 4  # Ray's own, and two workers
    with head:
        head.kill()
    assert psutil.wait_procs(others, timeout=20)[1] == []
    assert progress_of(tmp_path / "out").state == "stopped"
    head, others = started(tmp_path)
    with head:
        os.killpg(head.pid, signal.SIGINT)  # as a terminal does
    assert psutil.wait_procs(others, timeout=20)[1] == []
    assert progress_of(tmp_path / "out").stopped_by == "KeyboardInterrupt"
    before = Faulty(tmp_path / "marks").trained_runs
    executor = partial(local.carry_out, load=Faulty(tmp_path / "marks").load)
    run_study(study, tmp_path / "out", executor=executor)
    left = len(Faulty(tmp_path / "marks").trained_runs) - len(before)
    assert 0 < left < len(RUNS)  # what was kept is not done again
    assert tables(tmp_path / "out") == by_this_process(study, tmp_path)


JOIN = """\
from transferscope.execution import ray_cluster
with ray_cluster.connected(1) as ours:
    print(ours, ray_cluster.total("CPU"))
"""


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_given_it(tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("f" * 64)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_USAGE_STATS_ENABLED": "0"}
    environment = os.environ | {"HOME": str(tmp_path)} | address
    environment.pop("RAY_AUTH_MODE", None)  # so that `ray start` decides: there is a token
    ray_itself = Path(sys.executable).with_name("ray")
    start = [ray_itself, "start", "--head", "--block", "--num-cpus=3", f"--port={port}"]
    start.append("--include-dashboard=false")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(start, env=environment, **pipes) as head:
        said = ""
        while "Ray runtime started" not in said:
            line = head.stdout.readline()
            assert line, said
            said += line
        join = [sys.executable, "-c", JOIN]
        done = subprocess.run(join, cwd=ROOT, env=environment, capture_output=True, text=True)
        head.terminate()
    assert "Token authentication is enabled" in said
    assert (done.stdout, done.returncode) == ("False 3.0\n", 0), done.stderr

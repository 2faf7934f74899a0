"""Every node is killed at its start, in its middle and at its end; nothing is lost, and the next try completes."""

from __future__ import annotations

import pathlib
import signal

import pytest

from diet_tf.store.garbage import repair
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.pipelines.kubeflow.simulator import PodFailed, Run, Simulator
from tests.pipelines.kubeflow.test_simulated_cluster import content

pytestmark = [pytest.mark.slow(seconds=60), pytest.mark.timeout(900)]


def test_killed_nodes_lose_nothing_and_the_next_try_completes(cluster: Simulator, local_store: pathlib.Path,
                                                              tmp_path: pathlib.Path):
  folder = tmp_path / "memory" / "store"
  store = Store(str(folder))
  clean = cluster.run({}, root="s3://artifacts")
  before = content(folder)
  seconds = {attempt.node: float(pathlib.Path(f"{attempt.log}.seconds").read_text()) for attempt in clean.attempts}

  def kill_thrice(node: str, run: Run) -> None:
    for moment in ("start", 0.5 * seconds[node], "end"):
      with pytest.raises(PodFailed) as caught:
        run.node(node, kill=moment)
        # Done before its time: no two attempts take equally long.
        run.node(node, kill=0.1 * seconds[node])
      assert caught.value.code in (-signal.SIGKILL, -signal.SIGALRM), f"{node} at {moment}: {caught.value}"
      if node != "MemoryCommitter":
        assert content(folder) == before, f"{node} at {moment}"
      else:
        # It may have died after its commit: then that is whole, and the next try finds it done.
        assert {name: digest for name, digest in content(folder).items() if name in before} == before
        repair(store)
        check_store(store).require_sound()

  cluster.run({}, root="s3://artifacts", on_node=kill_thrice)
  assert store.spans() == [0, 1]
  check_store(store).require_sound()
  other = Store(str(local_store))
  assert [commit.data for commit in store.commits()] == [commit.data for commit in other.commits()]

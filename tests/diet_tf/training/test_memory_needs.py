import pytest

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.training.memory_needs import MemoryNeed, learner_need, machine_memory_bytes, require_memory

GIB = 1 << 30
SPEC = FeatureSpec((Field("item", "item", vocabulary_ids=100), Field("user", "user", hash_ids=900)), Label("click"))


def machine(folder, groups="", **limits):
  """A root folder with 8 GiB of memory, the process's groups, and limits by path below sys/fs/cgroup."""
  (folder / "proc/self").mkdir(parents=True)
  (folder / "proc/meminfo").write_text(f"MemTotal:       {8 * GIB // 1024} kB\nMemFree:  12 kB\n")
  (folder / "proc/self/cgroup").write_text(groups)
  for path, limit in limits.items():
    file = folder / "sys/fs/cgroup" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{limit}\n")
  return str(folder)


@pytest.mark.parametrize(("groups", "limits", "expected"), [
    ("", {}, 8 * GIB),
    ("0::/\n", {"memory.max": "max"}, 8 * GIB),
    ("0::/\n", {"memory.max": 2 * GIB}, 2 * GIB),
    # Of a group and those around it the smallest counts.
    ("0::/pod/box\n", {"pod/memory.max": 3 * GIB, "pod/box/memory.max": 4 * GIB}, 3 * GIB),
    # As a container sees it, whose group is named by a path outside: only the root is there.
    ("0::/kubepods/pod7/box\n", {"memory.max": 5 * GIB}, 5 * GIB),
    ("7:blkio:/\n4:cpu,memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": GIB}, GIB),
    # Version 1 says so where there is no limit.
    ("4:memory:/\n", {"memory/memory.limit_in_bytes": 9223372036854771712}, 8 * GIB)])
def test_the_smallest_limit_counts(tmp_path, groups, limits, expected):
  assert machine_memory_bytes(machine(tmp_path, groups, **limits)) == expected


def test_a_system_that_does_not_say(tmp_path):
  assert machine_memory_bytes(str(tmp_path)) is None
  require_memory(MemoryNeed("all", 1 << 60), SPEC, None)


def test_a_training_holds_a_model_two_optimizers_and_new_weights():
  # 1,000 linear weights and a bias: weights, two moments for each of two optimizers, new weights.
  assert learner_need("lr", SPEC) == MemoryNeed("training lr", 6 * 4 * 1001)


def test_too_large_a_table_is_refused_by_its_field():
  need = MemoryNeed("training all of it", 3_000_000_000, 1_000_000_000)
  require_memory(need, SPEC, 4_000_000_000)
  # What lies on a GPU is not counted.
  require_memory(need, SPEC, 1_000_000_000, on_gpu=True)
  with pytest.raises(ConfigError) as caught:
    require_memory(need, SPEC, 2_000_000_000)
  error = caught.value
  assert error.subject == "field 'user'"
  assert error.received == ("training all of it takes about 4.0 GB for 1,000 ids, 900 of them of this field; "
                            "this machine has 2.0 GB.")
  # Half of the memory holds half of the ids: 500, of which 100 are the items'.
  assert "at most 400 ids" in error.remedy

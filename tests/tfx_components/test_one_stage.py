"""The components of a stage, one after the other over files, make what `run_stage` makes of the same rows in memory."""

import numpy as np

from diet_tf.distillation.span import Span
from diet_tf.distillation.stage import run_stage
from diet_tf.distillation.teacher import Teacher
from diet_tf.memory.slots import Slots
from diet_tf.store.memories import load_memory
from diet_tf.store.store import MEMORY_PART, Store
from tfx_components.stage_files import read_verdict


def test_components_and_run_stage_make_the_same_memories(shared_workshop, first, second):
  workshop, store = shared_workshop, Store(shared_workshop.store)
  teacher, memory = Teacher(workshop.spec, workshop.settings.teacher, seed=3), None
  for number, made in ((1, first), (2, second)):
    ids, labels, example_ids, _ = workshop.make_examples(number)
    outcome = run_stage(memory, Span.of_arrays(number, workshop.spec, ids, labels, example_ids), teacher,
                        workshop.settings, seed=3)
    memory = outcome.memory
    committed = load_memory(store.path(store.read(number), MEMORY_PART))
    assert outcome.chosen == read_verdict(made.verdict.uri)[0].chosen
    for name in Slots.DTYPES:
      # Scores are summed shard by shard there and in other batches here.
      np.testing.assert_allclose(getattr(memory.slots, name), getattr(committed.slots, name), rtol=1e-4, atol=1e-6,
                                 err_msg=f"{name} of span {number}")
    manifest, expected = memory.manifest, committed.manifest
    assert (manifest.settings_digest, manifest.span, manifest.num_examples_seen, manifest.max_ids) == (
        expected.settings_digest, expected.span, expected.num_examples_seen, expected.max_ids)

import dataclasses

import numpy as np
import pytest

from diet_tf.distillation import refinement_needs as needs_module
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.refinement_needs import PROCESS_BYTES, refinement_needs, require_memory_for_proxies
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.training.inner_settings import InnerSettings
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec((Field("user", "user", hash_ids=1000), Field("item", "item", hash_ids=100)), Label("click"))
SETTINGS = DistillSettings(proxies=("lr",), num_initialisations=2, inner=InnerSettings(batch_size=8, epochs=2))


def make_slots(count=64):
  return small_slots(np.stack([np.arange(count), np.arange(count) % 4], axis=1))


def test_what_is_kept_of_slots_and_proxies_is_counted():
  needs = refinement_needs(SPEC, SETTINGS, make_slots())
  assert (needs.num_slots, needs.num_fields, needs.num_ids, needs.num_steps) == (64, 2, 68, 16)
  # Of 64 users and 4 items, one more row in each field, and a bias: 71 weights. Two initial ones and three copies; of
  # the one whose turn it is 14 more, those before each of 16 steps, and 2 x 4 moments; 22 of 64 x 2 ids.
  assert needs.num_weights == 71
  assert needs.num_bytes == PROCESS_BYTES + 4 * (71 * (2 + 3 + 14 + 16 + 2 * 4) + 128 * 22)
  require_memory_for_proxies(needs, needs.num_bytes)
  require_memory_for_proxies(needs, None)
  with pytest.raises(ConfigError, match="71 weights for 16 steps on 64 slots.*budget.max_slots"):
    require_memory_for_proxies(needs, needs.num_bytes - 1)


def test_beyond_what_is_kept_segments_are_counted(monkeypatch):
  slots = make_slots(128)
  kept = refinement_needs(SPEC, SETTINGS, slots)
  monkeypatch.setattr(needs_module, "KEPT_BYTES", 32 * 4 * kept.num_weights - 1)
  made_again = refinement_needs(SPEC, SETTINGS, slots)
  # 32 steps and twice six moments, against four copies for each of six segments.
  assert kept.num_bytes - made_again.num_bytes == 4 * kept.num_weights * (32 + 12 - 24)
  assert made_again.seconds > kept.seconds


def test_time_grows_with_the_steps_and_is_said_as_an_estimate():
  short = refinement_needs(SPEC, dataclasses.replace(SETTINGS, outer_steps=1000), make_slots())
  long = refinement_needs(SPEC, dataclasses.replace(SETTINGS, outer_steps=3000), make_slots())
  per_step = 16 * (1.5e-3 + 1e-8 * 71 + 2.5e-7 * 8 * 2)
  assert long.seconds - short.seconds == pytest.approx(2000 * per_step)
  assert "refining 64 slots of 2 fields with 68 ids" in str(short) and "0.8 GB" in str(short)
  assert "estimate for two cores, 1 min" in str(short)

"""What is asked for, what is noted per span, and what may be claimed of all slots."""

import pytest

from diet_tf.config.config import build_config
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.salt import Salt
from diet_tf.memory.privacy import Claim, PrivacySettings, users_by_span

SPEC = FeatureSpec((Field("user", "user", hash_ids=9), Field("kind", "kind", vocabulary_ids=9)), Label("click"))
FIVE = PrivacySettings("user", 5)


def entry(span, user_field, min_users):
  return {"born_span": span, "user_field": user_field, "min_users": min_users}


def config(**privacy):
  return build_config({"name": "shop", "log": {"pattern": "{SPAN}.csv"}, "privacy": privacy, "features": {
      "label": "click", "fields": [{"name": "user", "hash": 9}, {"name": "kind", "vocabulary": 9}]}})


@pytest.mark.parametrize(("broken", "match"), [
    ({"min_users_per_id": 0}, "at least 1"),
    ({"min_users_per_id": True}, "whole number"),
    ({"min_users_per_id": 5}, "privacy.user_field.*names the field"),
    ({"user_field": "usr", "min_users_per_id": 5}, "one of the fields: user, kind.*'usr'"),
    ({"salt_environment_variable": "the secret itself, say"}, "upper-case"),
    ({"users": 5}, "user_field, min_users_per_id, salt_environment_variable"),
])
def test_settings_are_checked(broken, match):
  with pytest.raises(ConfigError, match=match):
    config(**broken)


def test_a_salt_without_hashed_fields_is_refused():
  with pytest.raises(ConfigError, match="fields with hash alone"):
    build_config({"name": "shop", "log": {"pattern": "{SPAN}.csv"}, "privacy": {"salt_environment_variable": "SALT"},
                  "features": {"label": "click", "fields": [{"name": "kind", "vocabulary": 9}]}})


def test_a_config_salts_its_features_and_needs_no_secret_for_that(monkeypatch):
  monkeypatch.delenv("DIET_TF_NO_SUCH", raising=False)
  loaded = config(salt_environment_variable="DIET_TF_NO_SUCH")
  assert loaded.features.salt == Salt("DIET_TF_NO_SUCH") and loaded.privacy.min_users_per_id == 1
  assert config().features.salt is None and config().privacy == PrivacySettings()


class TestUsersBySpan:

  def test_the_first_span(self):
    assert users_by_span([1, 1], FIVE, 1, ()) == (entry(1, "user", 5),)
    assert users_by_span([1, 1], PrivacySettings("user"), 1, ()) == ()

  def test_old_slots_keep_what_they_were_made_under(self):
    before = users_by_span([1], FIVE, 1, ())
    assert users_by_span([2, 1], PrivacySettings("user", 3), 2, before) == (entry(1, "user", 5), entry(2, "user", 3))
    assert users_by_span([1, 2], PrivacySettings(), 2, before) == (entry(1, "user", 5), entry(2, None, 1))

  def test_slots_made_before_the_rule_are_under_none(self):
    assert users_by_span([1, 2], FIVE, 2, ()) == (entry(1, None, 1), entry(2, "user", 5))

  def test_a_span_that_no_slot_is_of_any_more_is_left_out(self):
    before = (entry(1, None, 1), entry(2, "user", 5))
    assert users_by_span([2, 3], FIVE, 3, before) == (entry(2, "user", 5), entry(3, "user", 5))
    assert users_by_span([4], PrivacySettings(), 4, before) == ()

  def test_where_the_last_slot_under_a_rule_is_gone_nothing_is_noted(self):
    before = (entry(1, None, 1), entry(2, "user", 5))
    assert users_by_span([1, 3], PrivacySettings(), 3, before) == ()
    assert users_by_span([1], FIVE, 3, before) == ()

  def test_a_span_that_is_run_again_is_noted_anew(self):
    assert users_by_span([2], PrivacySettings("user", 2), 2, (entry(2, "user", 5),)) == (entry(2, "user", 2),)
    assert users_by_span([2], PrivacySettings(), 2, (entry(2, "user", 5),)) == ()


class TestClaim:

  @pytest.mark.parametrize(("entries", "users"), [
      ((entry(1, "user", 5),), 5),
      ((entry(1, "user", 5), entry(2, "user", 3), entry(3, "user", 4)), 3),
  ])
  def test_the_weakest_rule_holds_for_all(self, entries, users):
    claim = Claim.of(entries, SPEC)
    assert (claim.user_field, claim.min_users, claim.why_none) == ("user", users, None)
    assert claim.users_text() == f"at least {users} users (field user) behind every id weight and every slot"

  @pytest.mark.parametrize(("entries", "why"), [
      ((), "rare ids stand in slots by themselves"),
      ((entry(1, None, 1), entry(2, "user", 5), entry(3, None, 1)),
       "slots of span 1, 3 were made without a minimum of users"),
      ((entry(1, "user", 5), entry(2, "kind", 5)), "users were counted by more than one field: kind, user"),
  ])
  def test_without_one_rule_for_all_nothing_is_claimed(self, entries, why):
    claim = Claim.of(entries, SPEC)
    assert (claim.user_field, claim.min_users, claim.users_text()) == (None, 1, f"none: {why}")

  def test_ids_by_how_they_are_made(self):
    assert Claim.of((), SPEC).hashing_text() == "without a salt: user; in the clear: kind"
    salted = Claim.of((), SPEC.with_salt(Salt("SALT", "ab")))
    assert salted.hashing_text() == "with a secret salt: user; in the clear: kind"
    assert salted.to_dict() == {
        "user_field": None, "min_users": 1, "why_none": "rare ids stand in slots by themselves",
        "salted_fields": ["user"], "salt_check": "ab", "hashed_fields": [], "open_fields": ["kind"]}

import pytest

from diet_tf.config.config import build_config
from diet_tf.config.not_yet import EVENTS, HISTORIES, LABELS, LISTS, NEGATIVES, NUMBERS, WEIGHTS
from diet_tf.errors import ConfigError

FIELD = {"name": "item", "hash": 16}


def config(**features):
  return {"name": "n", "log": {"pattern": "{SPAN}.csv"}, "features": {"label": "click", "fields": [FIELD], **features}}


@pytest.mark.parametrize(("values", "key", "need"), [
    (config(label=["click", "like"]), "features.label", LABELS), (config(labels=["like"]), "features.labels", LABELS),
    (config(weight="propensity"), "features.weight", WEIGHTS),
    (config(label={"column": "event", "positives": ["cart", "buy"]}), "features.label.positives", EVENTS),
    (config(negatives={"per_positive": 4, "from": "item_id"}), "features.negatives", NEGATIVES),
    ({**config(), "negatives": {"per_positive": 4}}, "negatives", NEGATIVES),
    (config(fields=[FIELD, {"name": "genres", "hash": 16, "sep": "|"}]), "features.fields.1.sep", LISTS),
    (config(fields=[FIELD, {"name": "watched", "history_of": "item"}]), "features.fields.1.history_of", HISTORIES),
    (config(fields=[FIELD, {"name": "price", "numeric": True}]), "features.fields.1.numeric", NUMBERS)])
def test_what_is_not_there_yet_is_named_with_what_can_be_done(values, key, need):
  with pytest.raises(ConfigError) as raised:
    build_config(values)
  assert raised.value.subject.endswith(key)
  assert (raised.value.rule, raised.value.remedy) == (need.rule, need.remedy)


def test_a_config_without_these_is_read():
  assert build_config(config()).features.names == ("item",)

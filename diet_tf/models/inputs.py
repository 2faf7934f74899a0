"""How a model takes its input: packed arrays, a dict of weighted bags, or a dict of single ids, averaged or drawn."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from diet_tf.errors import ConfigError, said_by_model
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout, missing_rows
from diet_tf.models import RankingModel, TfrsRanking, build_model
from diet_tf.models.bag_model import BagModel
from diet_tf.models.row_columns import field_bags

# Models of single ids have two: run on whole bags by a `BagModel` ("averaged"), or on drawn ids ("sampled").
INPUT_FORMS = ("packed", "weighted", "averaged", "sampled")
# Nearer to 0 or 1 a probability has no finite logit in single precision.
LEAST_PROBABILITY = 1e-6


def features_in_form(form: str, spec: FeatureSpec, ids: tf.Tensor, weights: tf.Tensor | None) -> dict[str, tf.Tensor]:
  """A model's input in one of `INPUT_FORMS`.

  Args:
    form: "sampled" takes single ids only; "averaged" bags and single ids.
    spec: feature spec, which names the fields.
    ids: encoded rows `[B, num_places]`, or `[B, num_fields, K]` with weights.
    weights: `[B, num_fields, K]`, or None.

  Raises:
    ConfigError: single ids are asked for, and a field has several values a row.
  """
  if form == "packed":
    return {"ids": ids} if weights is None else {"ids": ids, "weights": weights}
  layout = RowLayout.of(spec)
  if weights is None and not layout.is_plain:
    if form == "sampled":
      raise ConfigError("features of single ids", rule="every field has one value a row.",
                        received=f"several in {', '.join(spec.multi_valued)}.", remedy="use mode 'weighted', with a "
                        "model of single ids in a diet_tf.BagModel, or leave these fields out of the config.")
    bags = dict(zip(spec.names, field_bags(ids, layout, tf.float32), strict=True))
    return {**{name: tf.cast(own, tf.int64) for name, (own, _) in bags.items()},
            **{f"{name}/weights": own for name, (_, own) in bags.items()}}
  if form == "weighted" and weights is None:
    ids = ids[..., tf.newaxis]
    weights = tf.ones_like(ids, tf.float32)
  features = {name: tf.cast(ids[:, f], tf.int64) for f, name in enumerate(spec.names)}
  if weights is not None:
    features.update({f"{name}/weights": weights[:, f] for f, name in enumerate(spec.names)})
  return features


def single_ids(spec: FeatureSpec, ids: tf.Tensor) -> dict[str, tf.Tensor]:
  """One id for each field by its name, as models of single ids take them, of `[B, num_fields]` ids."""
  return {name: tf.cast(ids[:, f], tf.int64) for f, name in enumerate(spec.names)}


def as_logits(model: tf.keras.Model, outputs: tf.Tensor) -> tf.Tensor:
  """`[B]` logits of a model's outputs `[B]` or `[B, 1]`, which are probabilities if its `from_logits` is False."""
  return logits_of(outputs, getattr(model, "from_logits", True))


def logits_of(outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
  """`[B]` logits of outputs `[B]` or `[B, 1]`.

  Args:
    outputs: what a model returned.
    from_logits: whether they are logits, or else probabilities.
  """
  outputs = tf.reshape(outputs, [-1])
  if from_logits:
    return outputs
  outputs = tf.clip_by_value(outputs, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
  return tf.math.log(outputs) - tf.math.log1p(-outputs)


def dummy_batch(spec: FeatureSpec, form: str) -> tuple[tf.Tensor, tf.Tensor | None]:
  """Three rows of missing ids; with two ids a field where the form has weights."""
  shape = [3, len(spec.fields)] if form == "sampled" else [3, len(spec.fields), 2]
  return tf.zeros(shape, tf.int32), None if form == "sampled" else tf.fill(shape, 0.5)


def create_variables(model: tf.keras.Model, spec: FeatureSpec, form: str) -> None:
  """Calls a new model of a panel member, whose form of input is known, so that it has all its variables."""
  # The variables of a `BagModel` are those of the model of single ids in it.
  if form in ("averaged", "sampled"):
    model(single_ids(spec, dummy_batch(spec, "sampled")[0]))
    return
  model(features_in_form(form, spec, *dummy_batch(spec, form)))


class BuiltModel(NamedTuple):
  """A new model with all its variables.

  Attributes:
    model: model of a panel member.
    form: how it takes its input, one of `INPUT_FORMS`.
    not_averaged: why a model that takes single ids cannot be run on bags; "" for all others.
  """

  model: tf.keras.Model
  form: str
  not_averaged: str


def build_with_form(member: str, spec: FeatureSpec, *, seed: int = 0) -> BuiltModel:
  """A new model with all its variables, and the form of input that it takes.

  That is the form that the model declares in an attribute `diet_inputs`, or else the first of `INPUT_FORMS` in which it
  gives one output a row. Each form is tried on a new model: a failed call may leave layers built for another shape.

  Args:
    member: name of a panel family or a user's `module:Class`, with settings in brackets or not; see
      `diet_tf.models.build_model`.
    spec: feature spec, which names the fields and sizes their id spaces.
    seed: seed of the initial weights.

  Raises:
    ConfigError: the model takes none of the forms.
  """
  model = build_model(member, spec, seed=seed)
  if isinstance(model, RankingModel | TfrsRanking):
    create_variables(model, spec, "packed")
    return BuiltModel(model, "packed", "")
  declared = getattr(model, "diet_inputs", None)
  if declared is not None and declared not in INPUT_FORMS:
    raise ConfigError(f"panel member {member!r}: diet_inputs", rule=f"it is one of {', '.join(INPUT_FORMS)}.",
                      received=repr(declared), remedy="correct the attribute.")
  failures: dict[str, str] = {}
  for form in (declared,) if declared else INPUT_FORMS:
    model = build_model(member, spec, seed=seed)
    if form == "averaged":
      model = BagModel(model)
    failure = _why_not(model, form, spec)
    if not failure:
      asked = f"it has diet_inputs = {declared!r}." if declared else failures.get("averaged", "")
      return BuiltModel(model, form, asked if form == "sampled" else "")
    failures[form] = failure
  raise ConfigError(f"panel member {member!r}", rule="a model takes packed features, a dict of weighted bags or a dict "
                    "of single ids, and returns [batch] or [batch, 1].", received="; ".join(
                      f"{form}: {failure}" for form, failure in failures.items()),
                    remedy="make its call accept one of these, and name it in an attribute diet_inputs.")


def _why_not(model: tf.keras.Model, form: str, spec: FeatureSpec) -> str:
  """Why a model does not take a form of input, or else "". The first call, on slots, creates its variables."""
  if form == "sampled" and not RowLayout.of(spec).is_plain:
    return f"single ids are no form of {', '.join(spec.multi_valued)}, which have several values a row."
  ids, weights = dummy_batch(spec, form)
  # A model that takes single ids may take the two of a bag for one longer embedding: not so those of the log.
  rows = [(ids, weights)] if weights is None else [(ids, weights), (tf.constant(missing_rows(spec, 3)), None)]
  for batch in rows:
    try:
      shape = tuple(model(features_in_form(form, spec, *batch)).shape)
    except ConfigError as error:
      return error.received
    except Exception as error:
      return said_by_model(error)
    if shape not in ((3,), (3, 1)):
      return f"output {shape} for 3 rows"
  return ""

"""Panel members by name: the built-in families, their variants, and a user's own Keras models."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.models.autograph import leave_keras_unconverted
from diet_tf.models.autoint import AutoInt
from diet_tf.models.dcn import DCNv2
from diet_tf.models.deep import DNN, NFM, PNN, DeepFM, WideDeep
from diet_tf.models.dlrm import DLRM
from diet_tf.models.ranking_model import RankingModel
from diet_tf.models.shallow import FactorizationMachine, LogisticRegression

_FAMILIES: Mapping[str, type[RankingModel]] = {
    model.family: model
    for model in (LogisticRegression, FactorizationMachine, DeepFM, WideDeep, DNN, NFM, DCNv2, DLRM, AutoInt, PNN)
}

PANEL: tuple[str, ...] = tuple(_FAMILIES)
"""Names of the built-in families: `lr`, `fm`, `deepfm` and so on."""

_VARIANT = re.compile(r"^\s*(?P<model>[^()\s]+)\s*(?:\((?P<settings>[^()]*)\))?\s*$")


class Member(NamedTuple):
  """A model of the panel.

  Attributes:
    model: a family's name, or `module:Class`.
    settings: keyword arguments of the architecture's constructor.
  """

  model: str
  settings: dict[str, Any]


def parse_member(text: str) -> Member:
  """The member that a string such as `dnn`, `dnn(embedding_dim=4,hidden_units=64-32)` or `my.module:Model` names.

  Values are integers, floats, true or false, tuples of integers joined by `-` (`64-32`; `64-` for one), or else text.

  Raises:
    ConfigError: the string has another form.
  """
  match = _VARIANT.match(text)
  if not match:
    raise _variant_error(text)
  settings: dict[str, Any] = {}
  for part in filter(None, (match["settings"] or "").split(",")):
    key, equals, value = (piece.strip() for piece in part.partition("="))
    if not equals or not key.isidentifier() or not value or key in settings:
      raise _variant_error(text)
    settings[key] = _value(value)
  return Member(match["model"], settings)


def _variant_error(text: str) -> ConfigError:
  return ConfigError(f"panel member {text!r}", rule="a member is a name, or a name with settings in brackets.",
                     received=repr(text), remedy="write for example dnn(embedding_dim=4,hidden_units=64-32).")


def _value(text: str) -> Any:
  if text in ("true", "false"):
    return text == "true"
  if re.fullmatch(r"\d+(-\d+)*-?", text) and "-" in text:
    return tuple(int(piece) for piece in text.split("-") if piece)
  for convert in (int, float):
    try:
      return convert(text)
    except ValueError:
      continue
  return text


def build_model(name_or_path: str, spec: FeatureSpec, *, seed: int = 0, **settings: Any) -> tf.keras.Model:
  """A new model with the initial weights of `seed`; logits or probabilities `[B]` or `[B, 1]`.

  Args:
    name_or_path: a family of `PANEL` or `module:Class`, with settings in brackets or not (see `parse_member`). A
      user's class is called as `Class(spec, seed=seed, **settings)`; one whose constructor takes no `seed` is called
      without, and then its initial weights are not ours to fix.
    spec: feature spec, which names the fields and sizes their id spaces.
    seed: seed of all initial weights.
    **settings: further arguments of the constructor; those in brackets win.

  Raises:
    ConfigError: there is no such family, module or class, it is no Keras model, or it does not take the arguments.
  """
  leave_keras_unconverted()
  member = parse_member(name_or_path)
  settings = {**settings, **member.settings}
  if ":" in member.model:
    model_class = _import_class(member.model)
    if _takes_seed(model_class):
      settings.setdefault("seed", seed)
  else:
    model_class = _family(member.model)
    settings.setdefault("seed", seed)
  return _construct(member.model, model_class, spec, settings)


def _family(name: str) -> type[RankingModel]:
  if name not in _FAMILIES:
    raise ConfigError(f"panel member {name!r}", rule=f"a member is one of {', '.join(PANEL)}, or module:Class.",
                      received=repr(name), remedy="correct the name.")
  return _FAMILIES[name]


def _import_class(path: str) -> type[tf.keras.Model]:
  module_name, _, class_name = path.partition(":")
  subject = f"panel member {path!r}"
  try:
    module = importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    raise ConfigError(subject, rule="the module before ':' can be imported.", received=str(error),
                      remedy="install it, run the command in its folder, or put that on PYTHONPATH.") from error
  except (TypeError, ValueError) as error:  # importlib's words for an empty or relative name.
    raise ConfigError(subject, rule="the part before ':' is an absolute module name.", received=repr(module_name),
                      remedy="write package.module:Class.") from error
  except Exception as error:  # Whatever a user's own code raises.
    raise ConfigError(subject, rule="the module before ':' can be imported.",
                      received=f"{type(error).__name__}: {error}.", remedy="mend what its import runs into."
                      ) from error
  model_class = getattr(module, class_name, None)
  if model_class is None:
    raise ConfigError(subject, rule="the module has the class after ':'.", received=f"no {class_name!r} in "
                      f"{module.__file__}.", remedy="correct the class name.")
  if not (inspect.isclass(model_class) and issubclass(model_class, tf.keras.Model)):
    raise ConfigError(subject, rule="a member is a subclass of tf.keras.Model of tf-keras (Keras 2).",
                      received=repr(model_class), remedy="derive it from tf.keras.Model, with TF_USE_LEGACY_KERAS=1.")
  return model_class


def _takes_seed(model_class: type[tf.keras.Model]) -> bool:
  parameters = inspect.signature(model_class.__init__).parameters
  takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
  # A model of Keras' own would take `**kwargs` and refuse a seed among them.
  return "seed" in parameters or (takes_any and issubclass(model_class, RankingModel))


def _construct(name: str, model_class: type[tf.keras.Model], spec: FeatureSpec,
               settings: dict[str, Any]) -> tf.keras.Model:
  rule = "its constructor takes the feature spec first, and then the settings by name."
  try:
    inspect.signature(model_class.__init__).bind(None, spec, **settings)
    return model_class(spec, **settings)
  except TypeError as error:
    raise ConfigError(f"panel member {name!r}", rule=rule, received=f"{error}; settings {sorted(settings)}.",
                      remedy="def __init__(self, spec, *, seed=0, ...) accepts what is passed; drop other settings."
                      ) from error


def tables_of(model: tf.keras.Model) -> list[tf.Variable] | None:
  """The tables of a built-in architecture, which are read by its layer of weighted bags alone; None for other models.

  A model of a user's own may do with its variables whatever it likes.
  """
  if type(model) not in _FAMILIES.values():
    return None
  return [table for table in (model.embedding.embedding_table, model.embedding.linear_table) if table is not None]

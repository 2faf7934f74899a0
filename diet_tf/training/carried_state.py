"""What a model carries from step to step beside the variables that are trained, so that a step can be made again.

Moving statistics, counters and the states of random generators change with every training call. A step backwards calls
the model again and has to find them as the step forwards found them. What is written in a training call is found by
tracing one. It is of two kinds:

- *followed*: floating-point variables, such as the moving statistics of `tf.keras.layers.BatchNormalization`. A later
  step, or the model after training, may read them, so that the loss hangs on the trained variables and the data through
  them too. A step backwards therefore needs what a call makes of them as a function of what it found.
- *counted*: all others, such as counters and generators, through which no gradient flows.

What cannot be put back is refused by name: draws by stateful operations, `tf.py_function`, tables that are written to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.models.draws import LayerDraws, modules_of
from diet_tf.training.effects import Effect, effects_of
from diet_tf.training.unstopped import stops_gradients

_RULE = ("its training can be made again step by step: a call changes no variables but the model's own that are not "
         "trained, and draws by Keras' layers or by a tf.random.Generator that is an attribute of a layer.")
_REMEDY = ("write the layer so, for example with tf.keras.layers.Dropout or GaussianNoise, without tf.function and "
           "tf.py_function; or name another architecture in distill.proxies and gate.members. panel.members may name "
           "this one.")


class CarriedState:
  """The variables that a training call of a model changes beside the trained ones.

  Args:
    model: built model, whose random layers draw by generators from here on, see `LayerDraws`.
    name: name of the model in errors.
    draw_seed: scalar variable, the seed of what its layers draw in a training; None, the default, draws the same in
      every training.
  """

  def __init__(self, model: tf.keras.Model, name: str, draw_seed: tf.Variable | None = None) -> None:
    self._model = model
    self._name = name
    self._draws = LayerDraws(model)
    self._draw_seed = draw_seed
    self._is_known = False
    self.followed: list[tf.Variable] = []
    self.counted: list[tf.Variable] = []
    self._initial: list[tf.Tensor] = []
    self.stops_gradients = False

  def find(self, call: Callable[..., Any], signature: Sequence[tf.TensorSpec]) -> None:
    """Finds, at the first call, what a call changes, by tracing it; nothing is computed.

    Args:
      call: function that calls the model, first of all its arguments whether as in training.
      signature: shapes and types of the other arguments.

    Raises:
      ConfigError: something of a call cannot be put back.
    """
    if self._is_known:
      return
    with tf.init_scope():
      effects: list[Effect] = []
      for training in (True, False):
        graph = _trace(lambda *inputs: call(training, *inputs), signature)  # noqa: B023
        effects.extend(effects_of(graph))
        self.stops_gradients |= stops_gradients(graph)
      written = self._written(effects)
      self.followed = [one for one in written if one.dtype.is_floating]
      self.counted = [one for one in written if not one.dtype.is_floating]
      if self.followed:
        self._check_following(call, signature, effects)
      self._initial = [tf.constant(one.numpy()) for one in self.variables]
    self._is_known = True

  @property
  def variables(self) -> list[tf.Variable]:
    """All of them, in the order of `values`."""
    return self.followed + self.counted

  def start(self) -> None:
    """Sets them to where a training begins: their initial values, and generators to where the draws of its seed do."""
    self.assign(self._initial)
    self._draws.restart(0 if self._draw_seed is None else self._draw_seed)
    if self._draw_seed is not None:
      self._draws.count_from(self._draw_seed)

  def values(self) -> list[tf.Tensor]:
    """Their values now."""
    return [variable.read_value() for variable in self.variables]

  def assign(self, values: Sequence[tf.Tensor]) -> None:
    """Puts values back."""
    for variable, value in zip(self.variables, values):
      variable.assign(value)

  @contextlib.contextmanager
  def following(self, found: Sequence[tf.Tensor]) -> Iterator[list[tf.Tensor]]:
    """While it lasts, the followed variables read as `found`, and writes to them go into the list that it gives.

    The variables themselves are not touched, so that a tape sees a call as a function of `found`.
    """
    with _replaced(self.followed, found, []) as after:
      yield after

  def _written(self, effects: Sequence[Effect]) -> list[tf.Variable]:
    trained = {id(variable.handle) for variable in self._model.trainable_variables}
    own = {id(variable.handle): variable for variable in self._own_variables()}
    wrong = [effect for effect in effects if effect.resource is None or id(effect.resource) in trained
             or id(effect.resource) not in own]
    if wrong:
      raise self._refused([f"{effect.operation} in {_layer(effect)}" for effect in wrong])
    return list({id(effect.resource): own[id(effect.resource)] for effect in effects}.values())

  def _own_variables(self) -> list[tf.Variable]:
    metrics = [variable for metric in self._model.metrics for variable in metric.variables]
    held = [value for module in modules_of(self._model) for value in vars(module).values()
            if isinstance(value, tf.Variable)]
    return [*self._model.variables, *metrics, *held, *self._draws.variables]

  def _check_following(self, call: Callable[..., Any], signature: Sequence[tf.TensorSpec],
                       effects: Sequence[Effect]) -> None:
    """Refuses a model that gets at a followed variable where a tape could not follow."""
    escaped: list[tf.Variable] = []
    values = [tf.TensorSpec(variable.shape, variable.dtype) for variable in self.followed]

    def followed_call(values: list[tf.Tensor], *inputs: tf.Tensor) -> None:
      with _replaced(self.followed, values, escaped):
        call(True, *inputs)

    try:
      graph = _trace(followed_call, (values, *signature))
      # A handle may be captured to say on which device something is, without being read.
      captured = {id(outer) for outer, inner in graph.captures if inner.consumers()}
      escaped += [variable for variable in self.followed if id(variable.handle) in captured]
    except Exception:
      # A tensor of one graph was used in another, because of what is named below.
      if not escaped:
        raise
    handles = {id(variable.handle) for variable in escaped}
    if handles:
      raise self._refused([f"{effect.operation} in {_layer(effect)}, of which no gradient can be taken: it lies in a "
                           "tf.function, tf.cond or tf.while_loop, or changes a part of a variable"
                           for effect in effects if id(effect.resource) in handles])

  def _refused(self, found: Sequence[str]) -> ConfigError:
    shown = list(dict.fromkeys(found))
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return ConfigError(f"model {self._name!r}", rule=_RULE, received=f"{'; '.join(shown[:3])}{more}.", remedy=_REMEDY)


def _trace(function: Callable[..., Any], signature: Sequence[Any]) -> Any:
  return tf.function(function, autograph=False).get_concrete_function(*signature).graph


def _layer(effect: Effect) -> str:
  return effect.place.rpartition("/")[0] or effect.place


@contextlib.contextmanager
def _replaced(variables: Sequence[tf.Variable], found: Sequence[tf.Tensor],
              escaped: list[tf.Variable]) -> Iterator[list[tf.Tensor]]:
  """See `CarriedState.following`; variables that are used in a graph inside the current one are added to `escaped`."""
  after = list(found)
  graph = tf.compat.v1.get_default_graph()
  # Under mixed precision, layers hold a wrapper of the variable.
  bare = [getattr(variable, "_variable", variable) for variable in variables]
  replaced = [(variable, _methods(variable, index, after, graph, escaped)) for index, variable in enumerate(bare)]
  for variable, methods in replaced:
    vars(variable).update(methods)
  try:
    yield after
  finally:
    for variable, methods in replaced:
      for name in methods:
        delattr(variable, name)


def _methods(variable: tf.Variable, index: int, after: list[tf.Tensor], graph: tf.Graph,
             escaped: list[tf.Variable]) -> dict[str, Callable[..., tf.Tensor]]:
  """What a variable does in place of its own methods of these names."""

  def read() -> tf.Tensor:
    if tf.compat.v1.get_default_graph() is not graph:
      escaped.append(variable)
    return after[index]

  def write(value: Any) -> tf.Tensor:
    before = read()
    if tf.compat.v1.get_default_graph() is graph:
      after[index] = tf.ensure_shape(tf.convert_to_tensor(value, before.dtype), before.shape)
    return after[index]

  return {"value": read, "read_value": read, "sparse_read": lambda indices, name=None: tf.gather(read(), indices),
          "gather_nd": lambda indices, name=None: tf.gather_nd(read(), indices),
          "assign": lambda value, *_, **__: write(value), "assign_add": lambda delta, *_, **__: write(read() + delta),
          "assign_sub": lambda delta, *_, **__: write(read() - delta)}

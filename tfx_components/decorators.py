"""`@component`: a TFX component class whose interface is the signature of its constructor.

TFX's own decorator of this name makes a component of one function, which is also its executor. The components here have
executors of their own, which compiled pipelines name by their paths; they take settings as objects, not as their text
alone; and their constructors show their arguments to editors, type checkers and `help`.
"""

from __future__ import annotations

import abc
import functools
import inspect
import types as python_types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tfx.dsl.components.base import base_beam_component, base_executor, executor_spec
from tfx.types import Artifact, BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from tfx_components.parameters import as_text

ComponentClass = TypeVar("ComponentClass", bound=type)

_PARAMETER_TYPES = (str, int, float)


def component(executor: type[base_executor.BaseExecutor], *, outputs: Mapping[str, type[Artifact]],
              keys: Mapping[str, str] | None = None) -> Callable[[ComponentClass], ComponentClass]:
  """Gives a component class its executor, the spec that its constructor declares, and the body of that constructor.

  `__init__` is written with `...` as its body. Every argument is one of these, by its type hint:

  - `BaseChannel[Kind]` is an input of artifacts of that type; `BaseChannel[Kind] | None` one that may be left out.
  - `str`, `int` or `float` is a parameter. A union with `str` takes objects that are passed on as their text, see
    `tfx_components.parameters.as_text`. A TFX runtime parameter may stand in the place of each of them.

  What has a default is optional in the spec too.

  Example:

  ```python
  @component(executor.Executor, outputs={"model": Model})
  class Trainer(base_component.BaseComponent):
    def __init__(self, examples: BaseChannel[Examples], settings: Settings | str, seed: int = 0) -> None: ...
  ```

  Args:
    executor: the class that runs the component; a Beam executor for a subclass of `BaseBeamComponent`.
    outputs: artifact type of each output, by its key.
    keys: key in the spec of each argument that has another name there, by the argument's name: an input and an output
      of one spec must not have the same key.

  Raises:
    TypeError: an argument's type hint is none of those above.
  """
  keys = keys or {}

  def complete(cls: ComponentClass) -> ComponentClass:
    made: Any = cls
    declared = made.__init__
    signature, hints = inspect.signature(declared), typing.get_type_hints(declared)
    inputs, parameters = _declared_spec(cls.__name__, signature, hints, keys)
    texts = {name for name, hint in hints.items() if hint is not str and str in _members(hint)}
    spec_class = type(f"{cls.__name__}Spec", (ComponentSpec,), {
        "__doc__": f"Inputs, outputs and parameters of `{cls.__name__}`.", "__module__": cls.__module__,
        "INPUTS": inputs, "PARAMETERS": parameters,
        "OUTPUTS": {key: ChannelParameter(type=kind) for key, kind in outputs.items()}})

    # `inspect.signature`, and with it `help`, follows `wraps` to the declared arguments.
    @functools.wraps(declared)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
      given = signature.bind(self, *args, **kwargs)
      given.apply_defaults()
      _, *arguments = given.arguments.items()
      values = {keys.get(name, name): as_text(value) if name in texts else value for name, value in arguments}
      channels = {key: Channel(type=kind) for key, kind in outputs.items()}
      super(made, self).__init__(spec=spec_class(**values, **channels))

    # In place of the docstring of TFX's base class, whose constructor has other arguments.
    __init__.__doc__ = "Makes the component; the class documents the arguments."
    on_beam = issubclass(cls, base_beam_component.BaseBeamComponent)
    spec_of_executor = executor_spec.BeamExecutorSpec if on_beam else executor_spec.ExecutorClassSpec
    made.SPEC_CLASS, made.EXECUTOR_SPEC, made.__init__ = spec_class, spec_of_executor(executor), __init__
    # Both are abstract in TFX's base class, and what is abstract was counted before this decorator ran.
    abc.update_abstractmethods(cls)
    return cls

  return complete


def _declared_spec(subject: str, signature: inspect.Signature, hints: Mapping[str, Any], keys: Mapping[str, str],
                   ) -> tuple[dict[str, ChannelParameter], dict[str, ExecutionParameter]]:
  """Inputs and parameters that the arguments of a constructor declare, by their keys."""
  inputs: dict[str, ChannelParameter] = {}
  parameters: dict[str, ExecutionParameter] = {}
  _, *arguments = signature.parameters.values()
  for argument in arguments:
    key, hint = keys.get(argument.name, argument.name), hints[argument.name]
    optional = argument.default is not argument.empty
    artifact_type, parameter_type = _artifact_type(hint), _parameter_type(hint)
    if artifact_type is not None:
      inputs[key] = ChannelParameter(type=artifact_type, optional=optional)
    elif parameter_type is not None:
      parameters[key] = ExecutionParameter(type=parameter_type, optional=optional)
    else:
      raise TypeError(f"{subject}, argument {argument.name!r}: its type must be BaseChannel[...], str, int or float, "
                      f"or a union with one. Received: {hint!r}. Remedy: declare settings as `Settings | str`.")
  return inputs, parameters


def _members(hint: Any) -> tuple[Any, ...]:
  return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, python_types.UnionType) else (hint,)


def _artifact_type(hint: Any) -> type[Artifact] | None:
  """The artifact type of an input; None for a parameter."""
  return next((typing.get_args(member)[0] for member in _members(hint) if typing.get_origin(member) is BaseChannel),
              None)


def _parameter_type(hint: Any) -> type | None:
  """The type as which a parameter is passed on: text where it may be text."""
  return next((kind for kind in _PARAMETER_TYPES if kind in _members(hint)), None)

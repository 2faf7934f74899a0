"""The embedded default of `diet demo`: a simulated log, and a config small enough for two cores and a few minutes."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from diet_tf import metrics
from diet_tf.config.config import Config, build_config
from diet_tf.config.yaml_file import apply_overrides, parse_overrides
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.log.features import Field
from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings, simulated_feature_spec
from diet_tf.progress import Progress, silent
from diet_tf.settings import Where
from diet_tf.store.store import Store
from pipelines.workspace import STORE_NAME

LOG_SETTINGS = SimulatedLogSettings()
# The spans that are distilled; the one after them is the test.
NUM_SPANS = 5
TEST_SPANS = 1
LOG_FOLDER = "log"
CONFIG_NAME = "config.yaml"
# Says that a folder is a demo's, which the next demo may begin anew.
_MARK = ".diet-demo"

CONFIG: dict[str, Any] = {
    "name": "demo",
    # As few slots as show what a memory is, in two epochs; refined with the first and the last of the five spans.
    "budget": {"fraction": 0.01},
    "distill": {"inner": {"epochs": 2}, "outer_batch_size": 1024, "num_initialisations": 4, "refine_growth": 3.5},
    "gate": {"members": ["dnn", "fm"], "num_seeds": 2},
    "panel": {"members": ["lr", "fm", "dnn", "dcn_v2"], "seeds": [0, 1], "learning_rates": [1e-3, 3e-3, 1e-2],
              "log_epochs": [1, 2], "row_epochs": [10]},
    "test_spans": TEST_SPANS,
}


def config_values(settings: SimulatedLogSettings = LOG_SETTINGS) -> dict[str, Any]:
  """The demo's config as a config file writes it.

  Args:
    settings: settings of the simulated log.
  """
  spec = simulated_feature_spec(settings)
  features = {"label": spec.label.column, "time": spec.time_column,
              "fields": [_field_entry(field) for field in spec.fields]}
  return {"name": CONFIG["name"], "log": {"pattern": f"{LOG_FOLDER}/span-{{SPAN}}.csv"}, "features": features,
          **copy.deepcopy({key: value for key, value in CONFIG.items() if key != "name"})}


def demo_config(output: str, overrides: Sequence[str] = ()) -> Config:
  """The config of a demo.

  Args:
    output: the folder of the demo.
    overrides: settings that differ from the built-in ones, each of the form "section.key=value".
  """
  values = {**config_values(), "output": output}
  where = apply_overrides(values, Where("the demo's config"), parse_overrides(overrides))
  return build_config(values, where)


def prepare(output: str, settings: SimulatedLogSettings = LOG_SETTINGS, progress: Progress = silent) -> None:
  """Makes the folder of a demo anew, with the simulated log and the config in it.

  Args:
    output: the folder, which is emptied if an earlier demo made it.
    settings: settings of the simulated log.
    progress: callback that is told about the rows that are written.

  Raises:
    ConfigError: there is something in `output` that no demo wrote, or a commit of the demo's store is pinned.
  """
  mark = files.join(output, _MARK)
  if files.names_in(output) and not files.exists(mark):
    raise ConfigError(output, rule="a demo begins with a new folder, or with that of a demo before.",
                      received=f"a folder with {len(files.names_in(output))} other entries.",
                      remedy="name another one: diet demo --output DIR.")
  pins = Store(files.join(output, STORE_NAME)).pins()
  if pins:
    raise ConfigError(output, rule="a demo begins anew, and a pinned commit is never removed.",
                      received=f"a demo of before with pins of {len(pins)} commits.",
                      remedy="name another folder: diet demo --output DIR; or diet store unpin.")
  log = SimulatedLog(settings)
  with files.writing(output):
    for name in files.names_in(output):
      if name != _MARK:
        files.remove_if_there(files.join(output, name))
    files.make_folders(files.join(output, LOG_FOLDER))
    files.write_atomically(mark, b"")
    for span in range(NUM_SPANS + TEST_SPANS):
      log.write_csv(files.join(output, LOG_FOLDER, f"span-{span}.csv"), span, progress=progress)
    text = yaml.safe_dump(config_values(settings), sort_keys=False, default_flow_style=None, width=110)
    run = shlex.join(["diet", "run", "--config", files.join(output, CONFIG_NAME), "--data-dir", output])
    header = f"# What 'diet demo' runs.\n#\n#   {' '.join(run.splitlines())}\n"
    files.write_atomically(files.join(output, CONFIG_NAME), (header + text).encode())


def resume_command(output: str, overrides: Sequence[str], *, runner: str, json_path: str | None,
                   beam_arguments: Sequence[str]) -> str:
  """The command line, quoted for a shell, that goes on with a demo whose log is written.

  `diet demo` itself would begin anew; `diet run` takes what lies in the folder for the log of any user, so that the
  best possible AUC, which the demo alone knows, is not among its figures.

  Args:
    output: the folder of the demo.
    overrides: the demo's `--set`, each of the form "section.key=value".
    runner: the demo's `--runner`.
    json_path: the demo's `--json`; None if it was not given.
    beam_arguments: the demo's `--beam-arg`.
  """
  words = ["diet", "run", "--config", files.join(output, CONFIG_NAME), "--data-dir", output, "--output", output,
           "--runner", runner]
  words += [word for override in overrides for word in ("--set", override)]
  words += [] if json_path is None else ["--json", json_path]
  return shlex.join([*words, *(f"--beam-arg={argument}" for argument in beam_arguments)])


def bayes_auc(test_spans: Sequence[int], settings: SimulatedLogSettings = LOG_SETTINGS) -> float:
  """The AUC that the true click probabilities have, in expectation, on the rows of the test spans: none is higher.

  Args:
    test_spans: numbers of the spans that models are judged on.
    settings: settings of the simulated log.
  """
  log = SimulatedLog(settings)
  return metrics.expected_auc(np.concatenate([log.span(span)[1] for span in test_spans]))


def _field_entry(field: Field) -> dict[str, Any]:
  """A field as a config file writes it."""
  form: dict[str, Any] = {"name": field.name}
  if field.column != field.name:
    form["column"] = field.column
  if field.hash_ids is not None:
    form["hash"] = field.hash_ids
  elif field.boundaries:
    form["boundaries"] = list(field.boundaries)
  else:
    form["vocabulary"] = list(field.vocabulary) or field.vocabulary_ids
  if field.ids_per_slot is not None:
    form["ids_per_slot"] = field.ids_per_slot
  return form

"""A tiny simulated log with a config to match: spans of seconds rather than minutes."""

import pathlib

import pytest
import yaml

from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings

SETTINGS = SimulatedLogSettings(num_users=60, num_items=40, num_authors=10, num_categories=6, num_segments=3,
                                rows_per_span=1500, strength=1.5)
NUM_SPANS = 3


class TinyLog:
  """A folder with `span-N.csv` and `config.yaml`."""

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder = folder
    self.config_path = str(folder / "config.yaml")
    log = SimulatedLog(SETTINGS)
    for span in range(NUM_SPANS):
      log.write_csv(str(folder / f"span-{span}.csv"), span)
    model = "dnn(embedding_dim=4,hidden_units=16-8)"
    values = {
        "name": "tiny",
        "log": {"pattern": "span-{SPAN}.csv"},
        "features": {"label": "click", "time": "time_ms", "fields": [
            {"name": "user_id", "hash": 256}, {"name": "item_id", "hash": 128}, {"name": "category", "vocabulary": 16},
            {"name": "price", "boundaries": [4, 9, 20]}, {"name": "tab", "vocabulary": 8}]},
        "budget": {"fraction": 0.02},
        "squash": {"ids_per_slot": 4, "num_components": 4, "num_iterations": 2},
        "teacher": {"members": [model], "batch_size": 128, "num_checkpoints": 1},
        "distill": {"inner": {"batch_size": 8}, "proxies": ["lr"], "outer_steps": 4, "outer_batch_size": 64,
                    "num_initialisations": 1},
        "gate": {"members": ["lr"], "num_seeds": 1},
        "panel": {"members": ["lr", "fm(embedding_dim=4)"], "seeds": [0], "learning_rates": [0.01], "row_epochs": [2],
                  "log_batch_size": 128},
    }
    pathlib.Path(self.config_path).write_text(yaml.safe_dump(values, sort_keys=False))

  def with_features(self, **fields: dict) -> None:
    """Changes keys of fields in the config, by the field's name; a field that is not there comes last."""
    path = pathlib.Path(self.config_path)
    values = yaml.safe_load(path.read_text())
    known = {field["name"]: field for field in values["features"]["fields"]}
    for name, keys in fields.items():
      known[name] = {**known.get(name, {"name": name}), **keys}
    values["features"]["fields"] = list(known.values())
    path.write_text(yaml.safe_dump(values, sort_keys=False))

  def with_one_class(self, span: int) -> None:
    """Writes a span in which nobody clicks."""
    source = (self.folder / "span-0.csv").read_text().splitlines()
    rows = [row.rpartition(",")[0] + ",0" for row in source[1:]]
    (self.folder / f"span-{span}.csv").write_text("\n".join([source[0], *rows]) + "\n")


@pytest.fixture
def tiny_log(tmp_path):
  folder = tmp_path / "log"
  folder.mkdir()
  return TinyLog(folder)

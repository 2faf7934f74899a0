"""How a panel is trained and judged: the section `panel` of a config."""

from __future__ import annotations

import dataclasses
from typing import Any

from diet_tf.errors import ConfigError
from diet_tf.fidelity import panel_metrics, scores
from diet_tf.fidelity.grouping import require_group_field
from diet_tf.fidelity.panel_metrics import PanelMetric
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.recipe import MAX_EPOCHS

# Settings that results leave out where they have these values.
_AUC_ALONE: dict[str, Any] = {"metric": panel_metrics.AUC, "more_metrics": [], "group": None}


@dataclasses.dataclass(frozen=True)
class PanelSettings:
  """How the panel is trained and judged.

  Attributes:
    members: names of the architectures, see `diet_tf.models.build_model`.
    seeds: seeds of initial weights and of draws of random rows, one training each.
    learning_rates: Adam's rates to try, for the log and for random rows.
    log_epochs: numbers of passes over the log to try, for each learning rate; those after the first that is worse than
      the best beyond noise are left out.
    row_epochs: numbers of passes over random rows to try, beside the recipe's own.
    log_batch_size: examples per step of the pass over the log.
    selection: "auc" or "log_loss", the measure that settings are selected by on held-back examples.
    selection_spans: number of the newest spans that the held-back examples come from.
    selection_examples: number of held-back examples that are used at most.
    holdback_fraction: share of each span that is held back while settings are selected, strictly between 0 and 1.
    lazy: whether Adam moves only the rows of a batch in trainings on the log and on random rows. All rows that have
      occurred, as in Keras' own Adam, is the better reference (by 0.002 to 0.003 AUC on the simulated log); lazy is the
      faster one where very many ids occur.
    cache_bytes: size in bytes up to which the log's arrays are kept in memory, so that they are parsed once, not once
      per training.
    tune: whether each member chooses a factor of the recipe's rates on the memory, see `diet_tf.memory.tuning`; a
      memory without scored rows has nothing to choose by.
    metric: what members are ranked by, with resolved pairs, agreement and regret: `auc`, `gauc`, `ndcg@K`, `recall@K`,
      `log_loss`, `ece`, `calibration` or `rmse`, see `docs/how-to/metrics.md`.
    more_metrics: metrics that are shown beside, each with the ranking by it.
    group: name of the field whose ids tell users or requests apart, for `gauc`, `ndcg@K` and `recall@K`.
  """

  members: tuple[str, ...] = ("lr", "fm", "dnn", "dcn_v2")
  seeds: tuple[int, ...] = (0, 1, 2)
  learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
  log_epochs: tuple[int, ...] = (1, 2, 4, 8)
  row_epochs: tuple[int, ...] = (5, 10)
  log_batch_size: int = 256
  selection: str = "auc"
  selection_spans: int = 3
  selection_examples: int = 50_000
  holdback_fraction: float = 0.1
  lazy: bool = False
  cache_bytes: int = 1 << 28
  tune: bool = True
  metric: str = panel_metrics.AUC
  more_metrics: tuple[str, ...] = ()
  group: str | None = None

  def __post_init__(self) -> None:
    for name in ("members", "seeds", "learning_rates", "log_epochs", "row_epochs"):
      values = tuple(getattr(self, name))
      object.__setattr__(self, name, values)
      _require(name, "it has at least one entry, and none twice.", values, 0 < len(values) == len(set(values)))
    _require("learning_rates", "they are positive.", self.learning_rates, min(self.learning_rates) > 0)
    for name in ("log_epochs", "row_epochs"):
      _require(name, f"they lie in [1, {MAX_EPOCHS:,}].", getattr(self, name),
               1 <= min(getattr(self, name)) <= max(getattr(self, name)) <= MAX_EPOCHS)
    _require("seeds", "they are not negative.", self.seeds, min(self.seeds) >= 0)
    for name in ("log_batch_size", "selection_spans", "selection_examples"):
      _require(name, "it is at least 1.", getattr(self, name), getattr(self, name) >= 1)
    _require("selection", "it is 'auc' or 'log_loss'.", self.selection,
             self.selection in scores.SELECTION_MEASURES)
    _require("holdback_fraction", "it lies strictly between 0 and 1.", self.holdback_fraction,
             0 < self.holdback_fraction < 1)
    object.__setattr__(self, "more_metrics", tuple(self.more_metrics))
    panel_metrics.require_metrics((self.metric, *self.more_metrics), self.group, ("panel.metric", "panel.group"))

  @property
  def metrics_beside_auc(self) -> tuple[PanelMetric, ...]:
    """The metrics that are asked for beside the AUC, by which each training is judged in any case."""
    names = (*(() if self.metric == panel_metrics.AUC else (self.metric,)), *self.more_metrics)
    return tuple(map(PanelMetric.of, names))

  def require_fitting(self, spec: FeatureSpec) -> None:
    """Raises ConfigError where the group is no field of a feature spec."""
    require_group_field(self.group, spec, "panel.group")

  def to_dict(self) -> dict[str, Any]:
    """The settings as JSON values; what asks for the AUC alone, as was the rule once, goes without saying."""
    value = {name: list(value) if isinstance(value, tuple) else value
             for name, value in dataclasses.asdict(self).items()}
    return {name: entry for name, entry in value.items() if name not in _AUC_ALONE or entry != _AUC_ALONE[name]}


def _require(name: str, rule: str, received: Any, holds: bool) -> None:
  if not holds:
    raise ConfigError(f"fidelity.{name}", rule=rule, received=repr(received), remedy=f"correct {name}.")

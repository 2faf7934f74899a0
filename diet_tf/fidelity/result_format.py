"""The document of a panel's figures: its keys and their types, in each version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diet_tf.fidelity import bill as bills
from diet_tf.fidelity.grouping import GROUPING_SHAPE
from diet_tf.fidelity.verdict import RANDOM_HARD, RANDOM_SOFT, VERDICT_SHAPE
from diet_tf.io.documents import DocumentFormat
from diet_tf.io.shapes import Absentable, Figure, ListOf, MapOf, Nullable
from diet_tf.log.row_counts import ROW_COUNTS_SHAPE

LOG, MEMORY = bills.LOG, bills.MEMORY
# What a member is trained on, in the order of tables.
KINDS = (LOG, MEMORY, RANDOM_HARD, RANDOM_SOFT)

_TRAINING = {"aucs": tuple[Figure, ...], "log_losses": tuple[Figure, ...], "calibrations": tuple[Figure, ...],
             "learning_rate": float | None, "epochs": int, "examples": int, "flops": Figure, "seconds": Figure}
_RATES = {"overall": float, "linear": float, "trainings": int, "examples": int, "flops": Figure, "seconds": Figure,
          "source": str}
_DIFFERENCE = {"mean": Figure, "standard_error": Figure, "margin": Figure, "resolved": bool}
_MEMBER_1 = {"name": str, "recovery": Figure, "trainings": MapOf(_TRAINING), "differences": MapOf(_DIFFERENCE),
             **{f"{kind}_{figure}": Figure for kind in KINDS for figure in ("auc", "logloss", "auc_se")}}
_AGREEMENT_1 = {"share": Figure, "num_resolved": int, "num_pairs": int, "tau_b": Figure}
_VERSION_1 = {
    "members": ListOf(_MEMBER_1), "records": Mapping[str, int], "bytes": Mapping[str, int], "cost_ratio": float,
    "memory_uri": str, "report_uri": str, "examples_processed": Mapping[str, int], "flops": Mapping[str, Figure],
    "seconds": Mapping[str, Figure], "recovery": Figure, "agreement": _AGREEMENT_1, "regret": Figure,
    "bayes_auc": float | None, "seeds": tuple[int, ...], "spans": tuple[int, ...], "settings": Mapping[str, Any]}
_VERSION_2 = {
    **_VERSION_1, "verdict": VERDICT_SHAPE, "members": ListOf({**_MEMBER_1, "lift": Nullable(_DIFFERENCE)}),
    "agreement": {**_AGREEMENT_1, "low": Figure, "high": Figure}, "differences": MapOf(_DIFFERENCE),
    "rows": MapOf(ROW_COUNTS_SHAPE)}
_COST = {"seconds": Figure, "flops": Figure}
_BILL_ROW = {"trainings": int, **{unit: dict.fromkeys((MEMORY, LOG, bills.RIVAL), Figure) for unit in (
    *bills.UNITS, *bills.IN_PASSES.values())}}
_BILL = {"pass": _COST, "rival": str, "rival_wall": str, "bill": ListOf(_BILL_ROW),
         **{name: Figure for name in (
             "distillation_passes_wall", "distillation_passes_flops", "memory_training_passes_wall",
             "memory_training_passes_flops", "log_training_passes_wall", "log_training_passes_flops",
             "break_even_trainings", "break_even_trainings_flops", "break_even_against_rival",
             "break_even_against_rival_wall")}}
_MEMBER_3 = {**_MEMBER_1, "lift": Nullable(_DIFFERENCE),
             "trainings": MapOf({**_TRAINING, "rates": Nullable(_RATES)})}
_RANKING = {"agreement": Figure, "kendall_tau_b": Figure, "regret": Figure, "regret_at_3": Figure}
METRIC_FIGURES = {"values": tuple[Figure, ...], "mean": Figure,
                  **dict.fromkeys(("standard_error", "standard_error_seeds", "standard_error_units"), Figure)}
_BY_METRIC = {
    "name": str, "lower_is_better": bool, "units": str, "num_units": int, "num_groups_left_out": int,
    "num_rows_left_out": int, "agreement": {**_AGREEMENT_1, "low": Figure, "high": Figure},
    "members": ListOf({"name": str, "trainings": MapOf(METRIC_FIGURES), "differences": MapOf(_DIFFERENCE)}),
    "resolved_pairs": list[list[int]], "regret": Figure, "regret_at_3": Figure, "baselines": MapOf(_RANKING)}
RESULT = DocumentFormat("diet_tf.fidelity", {1: _VERSION_1, 2: _VERSION_2, 3: {
    **_VERSION_2, **_BILL, "members": ListOf(_MEMBER_3), "distillation": _COST,
    "resolved_pairs": list[list[int]] | None, "regret_at_3": Figure, "agreement_interval": list[Figure],
    "baselines": MapOf(_RANKING),
    # Where the settings ask for no other metric than the AUC, and for no groups, there is nothing to say.
    "by_metric": Absentable(MapOf(_BY_METRIC)), "grouping": Absentable(GROUPING_SHAPE)}},
    remedy="evaluate the memory again.", sort_keys=False)

"""Tables of a literal result: every cell by hand, in Markdown and as plain text."""

from benchmarks.fidelity.bars import bars
from benchmarks.fidelity.tables import (
  Table,
  ablation_table,
  all_tables,
  bars_table,
  baselines_table,
  bill_table,
  classes_table,
  cost_table,
  markdown,
  members_table,
  report,
  sources_table,
  stream_table,
  summary_table,
)


def literal_member(name, log, memory, *, used_as_proxy=False, variant=False, resolved=True):
  return {"name": name, "used_as_proxy": used_as_proxy, "variant": variant, "learning_rate": 0.003, "log_epochs": 2,
          "log_auc": log, "log_auc_se": 0.001, "memory_auc": memory, "memory_auc_se": 0.002,
          "start_auc": 0.7, "start_auc_se": 0.001, "recovery": (memory - 0.5) / (log - 0.5), "se": 0.0131,
          "log_logloss": 0.51234, "memory_logloss": 0.52341, "log_calibration": 1.0, "log_calibration_se": 0.01,
          "memory_calibration": 0.98765, "memory_calibration_se": 0.0222, "baselines": {"random/hard": 0.65},
          "difference_to_log": {"mean": memory - log, "standard_error": 0.0021, "resolved": resolved}}


def literal_result():
  """A small result with an entry of everything; figures that a single seed cannot have are None."""
  def mean(value, error=0.001):
    return {"mean": value, "standard_error": error}

  panel = {"mean_recovery": 0.95, "mean_recovery_se": 0.004, "min_recovery": 0.9, "min_recovery_member": "fm",
           "agreement": 1.0, "num_resolved": 2, "num_pairs": 3, "kendall_tau_b": 0.33333, "regret": 0.00127,
           "gain_over_best_equal_cost_baseline": 0.03, "gain_over_best_equal_cost_baseline_se": 0.002,
           "best_equal_cost_baseline": "recent/soft/equal_cost", "gain_over_best_same_records_baseline": None,
           "best_same_records_baseline": None, "refinement_gain": 0.012, "refinement_gain_se": None,
           "static_gain": None, "static_gain_se": None, "continual_gap": 0.0031, "continual_gap_se": 0.0005,
           "unseen_architecture_gap": 0.0101, "unseen_architecture_gap_se": 0.002}
  means = {"log": mean(0.76), "memory": mean(0.747, None), "from_scratch": mean(0.7501), "random/hard": mean(0.65),
           "random/hard/equal_cost": mean(0.66), "recent/soft/equal_cost": mean(0.717, 0.0034)}
  sample = mean(0.74)
  sources = [{"source": source, "training_passes": {"flops": cost, "wall": 2 * cost},
              "candidate_passes": {"flops": 4 * cost, "wall": 8 * cost}, "mean_auc": means.get(source, sample)["mean"],
              "mean_auc_se": means.get(source, sample)["standard_error"], "agreement": agreement, "agreement_low": low,
              "agreement_high": None if low is None else 1.0, "kendall_tau_b": 0.5, "regret": 0.001, "regret_at_3": 0.0}
             for source, cost, agreement, low in (
                 ("log", 1.0, 1.0, 1.0), ("memory", 0.02, 0.95, 0.9), ("from_scratch", 0.02, 0.96, None),
                 ("random/hard", 0.01, 0.6, 0.5), ("random/hard/equal_cost", 0.01, 0.61, 0.5),
                 ("recent/soft/equal_cost", 0.01, 0.7, 0.6), ("sample/uniform/1_5", 0.2, 0.96, 0.9),
                 ("sample/uniform/1_10", 0.1, 0.9, 0.85))]
  costs = {"memory": 14.0, "log": 10.0, "rival": 2.0}
  bill = [{"trainings": count, **{unit: {source: cost * count / 10 for source, cost in costs.items()} for unit in (
      "seconds", "flops", "passes_wall", "passes_flops")}} for count in (10, 30, 100, 300, 1000)]
  figures = {"distillation_passes_flops": 11.9, "distillation_passes_wall": 26.0, "memory_training_passes_flops": 0.02,
             "memory_training_passes_wall": 0.05, "log_training_passes_flops": 1.0, "log_training_passes_wall": 1.0,
             "break_even_trainings": 41.5, "break_even_trainings_flops": 12.1, "rival": "sample/uniform/1_5",
             "rival_wall": "log", "break_even_against_rival": 66.1, "break_even_against_rival_wall": None}
  classes = [{**figures, "cost_class": 1, "members": ["dnn", "fm"], "measured": True, "agreement": 0.95,
              "agreement_low": 0.9, "agreement_high": 1.0, "num_resolved": 2},
             {**figures, "cost_class": 5, "members": [], "measured": False, "agreement": None, "agreement_low": None,
              "agreement_high": None, "num_resolved": None, "break_even_trainings": None}]
  summary = {**panel, **figures, "sources": sources, "bill": bill, "bill_by_cost_class": classes,
             "distillation": {"seconds": 1234.5, "flops": None}, "regret_at_3": 0.0,
             "panel_mean_auc": means, "cost_ratio": 51.23, "flops_ratio": 49.0, "wall_ratio": None,
             "training_costs": {"log": {"examples": 210_000, "flops": 1.5e12, "seconds": 30.3},
                                "memory": {"examples": 4_099, "flops": 3.0e10, "seconds": 0.5}},
             "records": {"log": 100_000, "memory": 1_000, "test": 20_000},
             "bytes": {"log": 8_000_000, "memory": 500_000, "log_raw": 20_000_000, "memory_raw": 2_000_000},
             "distillation_examples": 5_000_000, "distillation_seconds": 1234.5,
             "stage_wall_ratio": 61.0,
             "architectures_only": {**panel, "mean_recovery": 0.96}}
  stream = [{"span": span, "num_slots": 500 * (span + 1), "mean_recovery": 0.9 + 0.01 * span,
             "mean_recovery_se": 0.002, "mean_auc": 0.74, "log_mean_auc": 0.76,
             "first_span": {"mean_recovery": 0.88} if span else None, "stage_wall_ratio": 20.04,
             "stage_flops_ratio": 3.21, "agreement": 0.8, "agreement_low": 0.7, "agreement_high": 0.9,
             "kendall_tau_b": 0.4, "regret": 0.002, "regret_at_3": 0.0005,
             "seconds": {"teacher": 1.5, "distill": 20.3},
             "actions": {"freeze": 100 * span, "update": 300 * span, "replace": 100 * span, "add": 500},
             "slots_by_age": {"0": 500}} for span in range(3)]
  ablations = [{"name": "full_method", "reference": None, "mean_auc": 0.747, "mean_recovery": 0.95, "mean_auc_se": None,
                "difference": None, "agreement": 0.9, "agreement_low": 0.8, "agreement_high": 1.0,
                "kendall_tau_b": 0.6, "regret": 0.001, "regret_at_3": 0.0},
               {"name": "one id per slot", "reference": "full_method", "mean_auc": 0.737, "mean_recovery": 0.9118,
                "mean_auc_se": 0.001,
                "difference": {"mean": -0.01, "standard_error": 0.0012, "resolved": True}},
               {"name": "no_influence", "reference": "full_method", "mean_auc": 0.7474, "mean_recovery": None,
                "mean_auc_se": 0.001,
                "difference": {"mean": 0.0004, "standard_error": 0.0012, "resolved": False}}]
  members = [literal_member("dnn", 0.78, 0.766, used_as_proxy=True), literal_member("fm", 0.75, 0.725, resolved=False),
             literal_member("dnn(hidden=8)", 0.75, 0.75, used_as_proxy=True, variant=True)]
  return {"format_name": "diet_tf.fidelity_benchmark", "format_version": 1, "members": members, "summary": summary,
          "stream": stream, "ablations": ablations, "settings": {}}


def test_markdown_and_text_of_a_table():
  table = Table("Title", ("name", "value"), (("a", "10.5"), ("long name", "1")))
  assert table.markdown() == "| name | value |\n| --- | ---: |\n| a | 10.5 |\n| long name | 1 |"
  assert table.text() == ("Title\n\n"
                          "name       value\n"
                          "---------  -----\n"
                          "a           10.5\n"
                          "long name      1")


def test_members():
  rows = members_table(literal_result()).rows
  assert rows[0] == ("dnn", "yes", "0.003", "2", "0.7800 ± 0.0010", "0.7660 ± 0.0020", "0.950 ± 0.013",
                     "-0.0140 ± 0.0021", "0.5123", "0.5234", "1.000 ± 0.010", "0.988 ± 0.022")
  # A difference that is not resolved stands in brackets.
  assert rows[1][:2] == ("fm", "no") and rows[1][7] == "(-0.0250 ± 0.0021)"
  assert rows[2][0] == "dnn(hidden=8) (variant)" and rows[2][7] == "+0.0000 ± 0.0021"


def test_a_member_without_figures_has_dashes():
  result = literal_result()
  empty = {name: value if isinstance(value, str | bool) else None for name, value in result["members"][0].items()}
  assert members_table({**result, "members": [empty]}).rows == (("dnn", "yes", *["-"] * 10),)


def test_sources_and_baselines():
  result = literal_result()
  log, memory, scratch, fifth, _ = sources_table(result).rows
  assert log == ("log", "1.000 (4.000)", "2.000 (8.000)", "0.7600 ± 0.0010", "1.000 (1.000 to 1.000)", "0.500",
                 "0.0010", "0.0000")
  assert memory[:5] == ("memory", "0.020 (0.080)", "0.040 (0.160)", "0.7470", "0.950 (0.900 to 1.000)")
  # An interval that is not known is left out.
  assert scratch[0] == "from scratch" and scratch[4] == "0.960" and fifth[0] == "sample/uniform 1/5"
  assert baselines_table(result).rows == (
      ("random", "hard, same records", "0.6500 ± 0.0010", "0.600 (0.500 to 1.000)", "0.500", "0.0010", "0.0000"),
      ("random", "hard, equal cost", "0.6600 ± 0.0010", "0.610 (0.500 to 1.000)", "0.500", "0.0010", "0.0000"),
      ("recent", "soft, equal cost", "0.7170 ± 0.0034", "0.700 (0.600 to 1.000)", "0.500", "0.0010", "0.0000"))


def test_the_bill_has_both_units():
  table = bill_table(literal_result())
  assert table.header == ("trainings", "memory, FLOPs", "log, FLOPs", "rival (sample/uniform 1/5), FLOPs",
                          "memory, wall", "log, wall", "rival (log), wall")
  assert table.rows[1] == ("30", "42.0", "30.0", "6.0", "42.0", "30.0", "6.0") and table.rows[-1][0] == "1,000"


def test_candidates_of_other_sizes():
  first, second = classes_table(literal_result()).rows
  assert first == ("1", "2 members", "0.950 (0.900 to 1.000)", "0.020", "0.050", "1.000", "1.000", "12.1", "41.5",
                   "66.1", "-", "sample/uniform 1/5")
  assert second[:3] == ("5", "FLOPs scaled, not measured", "-") and second[8] == "-"


def test_summary():
  rows = {row[0]: row[1:] for row in summary_table(literal_result()).rows}
  assert rows["mean recovery"] == ("0.950 ± 0.004", "0.960 ± 0.004")
  assert rows["min recovery"][0] == "0.900 (fm)"
  assert rows["agreement"][0] == "1.000 (2 of 3 pairs resolved)"
  with_interval = {**literal_result()["summary"], "agreement_low": 0.8125, "agreement_high": 1.0}
  table = summary_table({**literal_result(), "summary": with_interval})
  assert table.rows[2][1] == "1.000 (2 of 3 pairs resolved, 90 % interval 0.812 to 1.000)"
  assert rows["kendall tau b"][0] == "0.333"
  assert rows["regret"][0] == "0.0013"
  assert rows["gain over best equal cost baseline"][0] == "0.0300 ± 0.0020 (recent/soft/equal_cost)"
  assert rows["gain over best same records baseline"] == ("-", "-")
  assert rows["refinement gain"][0] == "0.0120"
  assert rows["unseen architecture gap"][0] == "0.010 ± 0.002"
  without = literal_result()
  without["summary"]["architectures_only"] = None
  assert {row[2] for row in summary_table(without).rows} == {"-"}


def test_ablations():
  assert ablation_table(literal_result()).rows == (
      ("full method", "0.7470", "0.950", "0.900 (0.800 to 1.000)", "0.600", "0.0010", "0.0000", "-", "-"),
      ("one id per slot", "0.7370 ± 0.0010", "0.912", "-", "-", "-", "-", "full method", "-0.0100 ± 0.0012"),
      ("no influence", "0.7474 ± 0.0010", "-", "-", "-", "-", "-", "full method", "(+0.0004 ± 0.0012)"))


def test_stream():
  table = stream_table(literal_result())
  assert table.header[-8:] == ("freeze", "update", "replace", "add", "teacher s", "distill s", "stage / pass, wall",
                               "stage / pass, FLOPs")
  assert table.rows[0] == ("0", "500", "0.900 ± 0.002", "0.7400", "0.7600", "0.800 (0.700 to 0.900)", "0.400", "0.0020",
                           "0.0005", "-", "0", "0", "0", "500", "1.5", "20.3", "20.0", "3.2")
  assert table.rows[2][:2] == ("2", "1,500") and table.rows[2][9:14] == ("0.880", "200", "600", "200", "500")


def test_a_part_of_a_stage_that_a_span_lacks_is_a_dash():
  result = literal_result()
  result["stream"][0]["seconds"] = {"teacher": 1.0}
  assert [row[-4:-2] for row in stream_table(result).rows] == [("1.0", "-"), ("1.5", "20.3"), ("1.5", "20.3")]


def test_cost():
  rows = {row[0]: row[1:] for row in cost_table(literal_result()).rows}
  assert rows["records"] == ("100,000", "1,000", "100.0")
  assert rows["bytes, compressed"] == ("8,000,000", "500,000", "16.0")
  assert rows["bytes, uncompressed"] == ("20,000,000", "2,000,000", "10.0")
  assert rows["examples processed"] == ("210,000", "4,099", "51.2")
  assert rows["FLOPs"] == ("1.5e+12", "3e+10", "49.0")
  assert rows["seconds"] == ("30.3", "0.5", "-")
  assert rows["examples of distillation"] == ("-", "5,000,000", "-")
  assert rows["seconds of distillation"] == ("-", "1,234.5", "-")
  assert rows["stage wall ratio"] == ("-", "-", "61.0")
  assert rows["FLOPs of distillation"] == ("-", "-", "-")
  assert rows["passes of distillation, wall"] == ("-", "26.0", "-")
  assert rows["trainings until it pays, wall"] == ("-", "-", "41.5")
  assert rows["trainings until it pays, FLOPs"] == ("-", "-", "12.1")
  assert rows["against log, wall"] == ("-", "-", "-")
  assert rows["against sample/uniform 1/5, FLOPs"] == ("-", "-", "66.1")


def test_bars():
  rows = {row[0]: row[1:] for row in bars_table(bars(literal_result()["summary"])).rows}
  assert rows["distillation passes flops"] == ("11.9", "≤ 12.0", "yes", "≤ 6.0", "no")
  assert rows["distillation passes wall"] == ("26.0", "≤ 25.0", "no", "≤ 10.0", "no")
  assert rows["memory training passes flops"] == ("0.020", "≤ 0.040", "yes", "≤ 0.020", "yes")
  assert rows["agreement"] == ("1.000", "≥ 0.920", "yes", "≥ 0.950", "yes")
  assert rows["regret"] == ("0.0013", "≤ 0.0010", "no", "≤ 0.0005", "no")
  assert rows["break even against rival wall"] == ("-", "≤ 200.0", "no", "≤ 60.0", "no")


BARS = bars(literal_result()["summary"])


def test_rows_are_as_long_as_their_header():
  tables = all_tables(literal_result(), BARS)
  assert len(tables) == 10
  for table in tables:
    assert {len(row) for row in table.rows} == {len(table.header)}, table.title


def test_tables_that_would_be_empty_are_left_out():
  result = {**literal_result(), "stream": [], "ablations": []}
  titles = [table.title for table in all_tables(result, BARS)]
  assert len(titles) == 8 and not {"Span by span", "Ablations"} & set(titles)


def test_the_document_and_the_report_hold_all_tables():
  result = literal_result()
  document, text = markdown(result, BARS), report(result, BARS)
  for table in all_tables(result, BARS):
    assert f"### {table.title}\n\n{table.markdown()}\n" in document
    assert table.text() in text
  # Missed are the cost in wall time, two break-evens, and regret; of the eleven, the others are met.
  assert text.endswith("\n7 of 11 bars are met.\n")
  assert (markdown(literal_result(), BARS), report(literal_result(), BARS)) == (document, text)


def test_a_result_without_bars_has_no_table_of_them():
  assert all(table.title != "Bars" for table in all_tables(literal_result(), []))
  assert "bars" not in report(literal_result(), [])

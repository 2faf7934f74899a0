"""Plots of a literal result: what is drawn where, and files that are the same bytes each time."""

import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.fidelity.plots import ablations, baselines, cost, scatter, stream, write_plots
from tests.benchmarks.test_tables import literal_member, literal_result

matplotlib = pytest.importorskip("matplotlib")


def error_bars(axes):
  """Per series of an errorbar plot its marks, as `(label, x, y)`."""
  return [(container.get_label(), list(container.lines[0].get_xdata()), list(container.lines[0].get_ydata()))
          for container in axes.containers]


def segments(axes, series, direction):
  """The ends of the error bars of a series, as `[(from, to), ...]` along an axis (0: x, 1: y)."""
  bars = axes.containers[series].lines[2][direction]
  return [tuple(segment[:, direction].round(9)) for segment in bars.get_segments()]


def test_the_scatter_has_one_mark_per_member_and_marks_variants():
  axes = scatter(literal_result()).axes[0]
  assert error_bars(axes) == [("architecture", [0.78, 0.75], [0.766, 0.725]), ("variant", [0.75], [0.75])]
  assert segments(axes, 0, 0) == [(0.779, 0.781), (0.749, 0.751)]
  assert segments(axes, 0, 1) == [(0.764, 0.768), (0.723, 0.727)]
  fills = [container.lines[0].get_markerfacecolor() for container in axes.containers]
  assert fills == ["#2a78d6", "white"]
  assert [text.get_text() for text in axes.texts] == ["dnn", "fm", "dnn(hidden=8)"]


def test_the_names_of_near_members_do_not_cover_each_other():
  members = [literal_member(f"m{number}", 0.75, 0.74 + 1e-5 * number) for number in range(17)]
  axes = scatter({**literal_result(), "members": members}).axes[0]
  heights = [text.xyann[1] for text in axes.texts]
  assert all(later - earlier >= 0.0399 for earlier, later in zip(heights, heights[1:]))


def test_a_member_without_figures_is_not_labelled():
  result = literal_result()
  result["members"][0] |= {"memory_auc": None, "memory_auc_se": None}
  assert [text.get_text() for text in scatter(result).axes[0].texts] == ["fm", "dnn(hidden=8)"]


def test_baselines_are_bars_from_chance_in_order_with_ours_as_lines():
  axes = baselines(literal_result()).axes[0]
  assert [label.get_text() for label in axes.get_yticklabels()] == ["random/hard", "random/hard/equal cost",
                                                                    "recent/soft/equal cost"]
  assert [(bar.get_x(), round(bar.get_x() + bar.get_width(), 9)) for bar in axes.patches] == [
      (0.5, 0.65), (0.5, 0.66), (0.5, 0.717)]
  lines = {line.get_label(): line.get_xdata()[0] for line in axes.lines if not line.get_label().startswith("_")}
  assert lines == {"log": 0.76, "memory": 0.747}  # The result has no start.


def test_the_stream_stacks_the_slots_of_each_span():
  upper, lower = stream(literal_result()).axes
  assert [round(value, 9) for value in error_bars(upper)[0][2]] == [0.9, 0.91, 0.92]
  # Span 2 freezes 200, updates 600, replaces 200 and adds 500.
  stacked = [(container.get_label(), container[2].get_y(), container[2].get_height()) for container in lower.containers]
  assert stacked == [("freeze", 0, 200), ("update", 200, 600), ("replace", 800, 200), ("add", 1000, 500)]


def test_ablations_are_differences_and_pale_where_not_resolved():
  axes = ablations(literal_result()).axes[0]
  # The first row of the result is at the top, and the full method has no difference to itself.
  assert [label.get_text() for label in axes.get_yticklabels()] == ["no influence", "one id per slot"]
  assert [(round(bar.get_width(), 9), bar.get_alpha()) for bar in axes.patches] == [(0.0004, 0.4), (-0.01, 1.0)]


def test_cost_is_set_against_agreement_and_totals_cross():
  left, right = cost(literal_result()).axes
  marks = {label: (x, y) for label, x, y in error_bars(left)}
  # Shares of one kind are joined, the cheapest first; selections of rows are not shown.
  assert marks == {"log": ([1.0], [1.0]), "memory": ([0.02], [0.95]), "uniform sub-sample": ([0.1, 0.2], [0.9, 0.96])}
  bars = left.containers[1].lines[2][0].get_segments()
  assert [tuple(bar[:, 1].round(9)) for bar in bars] == [(0.9, 1.0)]
  assert left.get_xscale() == right.get_xscale() == "log"
  lines = {line.get_label(): [round(cost, 9) for cost in line.get_ydata()] for line in right.lines
           if not line.get_label().startswith("_")}
  # From one training to a thousand.
  assert lines == {"on the log": [1.0, 10.0, 30.0, 100.0, 300.0, 1000.0],
                   "on sample/uniform 1/5": [0.2, 2.0, 6.0, 20.0, 60.0, 200.0],
                   "on the memory, with making it": [1.4, 14.0, 42.0, 140.0, 420.0, 1400.0]}
  # Where the memory's line crosses those of the log and of the rival.
  assert [text.get_text() for text in right.texts] == ["12", "66"]


def test_where_no_rival_ranks_so_well_there_is_no_line_of_one():
  result = literal_result()
  result["summary"] |= {"rival": "log", "break_even_against_rival": None, "break_even_trainings_flops": None}
  right = cost(result).axes[1]
  assert len([line for line in right.lines if not line.get_label().startswith("_")]) == 2 and not right.texts


def large_result():
  result = literal_result()
  result["members"] = [literal_member(f"member_{number}", 0.7 + 0.005 * number, 0.69 + 0.005 * number)
                       for number in range(17)]
  means = result["summary"]["panel_mean_auc"]
  means |= {f"selection_{number}/{kind}": {"mean": 0.6 + 0.001 * number, "standard_error": 0.001}
            for number in range(12) for kind in ("hard", "soft", "hard/equal_cost", "soft/equal_cost")}
  result["stream"] = [{**result["stream"][1], "span": span} for span in range(14)]
  return result


def test_files_are_small_valid_and_the_same_bytes_each_time(tmp_path):
  before = dict(matplotlib.rcParams)
  first, second = (write_plots(large_result(), tmp_path / name / "plots") for name in ("first", "second"))
  assert [path.name for path in first] == ["cost.svg", "scatter.svg", "baselines.svg", "stream.svg", "ablations.svg"]
  for one, other in zip(first, second, strict=True):
    content = one.read_bytes()
    assert content == other.read_bytes()
    assert len(content) < 150_000
    assert ElementTree.fromstring(content).tag.endswith("svg")
    assert b"<dc:date>" not in content
  assert ">member_16<" in first[1].read_text()  # Text stays text.
  assert dict(matplotlib.rcParams) == before


def test_other_figures_give_other_bytes(tmp_path):
  result = literal_result()
  first = [path.read_bytes() for path in write_plots(result, tmp_path / "first")]
  result["members"][0]["memory_auc"] += 0.001
  second = [path.read_bytes() for path in write_plots(result, tmp_path / "second")]
  assert [one == other for one, other in zip(first, second, strict=True)] == [True, False, True, True, True]


def test_what_a_result_lacks_is_not_drawn(tmp_path):
  result = {**literal_result(), "stream": [], "ablations": []}
  result["summary"]["sources"] = result["summary"]["sources"][:1]
  result["summary"]["panel_mean_auc"] = {"log": {"mean": 0.76, "standard_error": None}}
  assert [path.name for path in write_plots(result, str(tmp_path))] == ["scatter.svg"]
  assert [path.name for path in tmp_path.iterdir()] == ["scatter.svg"]

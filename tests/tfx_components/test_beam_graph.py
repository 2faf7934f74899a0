"""Steps on Beam: their order, errors, totals and progress, in one process and in several."""

import dataclasses
import time

import apache_beam as beam
import pytest
from apache_beam.pvalue import AsSingleton

from diet_tf.errors import ConfigError, DataError
from diet_tf.progress import silent
from tfx_components.beam_graph import CLAIMS, TOTALS, GraphRunner, total

THREADS = ["--direct_running_mode=multi_threading", "--direct_num_workers=3"]
PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
BOTH = [[], THREADS, pytest.param(PROCESSES, marks=pytest.mark.slow)]


@dataclasses.dataclass(frozen=True)
class Halve:
  """Hands on the even values' halves; three values are wrong."""

  pause: float = 0
  wrong: tuple[int, ...] = ()

  def run(self, number, values, side_input):
    for value in values:
      time.sleep(self.pause)
      if value in self.wrong:
        raise DataError(f"value {value}", rule="it is right.", received="it.", remedy="mend it.")
      yield total("values", value)
      if value % 2 == 0:
        yield 0, value // 2


@dataclasses.dataclass(frozen=True)
class Add:
  def run(self, number, values, side_input):
    yield total("halves", sum(values) + side_input)
    if side_input < 0:
      raise ConfigError("side input", rule="it is not negative.", received=f"{side_input}.", remedy="pass another.")


def run(folder, arguments, halve, values=range(8), side_input=100, progress=silent):
  runner = GraphRunner(lambda: beam.Pipeline(argv=["--runner=DirectRunner", *arguments]), str(folder), progress)

  def build(graph):
    halves = graph.create("Values", list(values)) | "Halve" >> graph.step(halve, "halving", len(values))
    side = halves[CLAIMS] | "Side" >> beam.Map(lambda _: 1) | "One" >> beam.CombineGlobally(lambda _: side_input)
    added = halves[CLAIMS] | beam.GroupByKey() | "Add" >> graph.step(Add(), "adding", 1, side_input=AsSingleton(side))
    graph.hand_back([halves[TOTALS], added[TOTALS]])

  return runner.run("graph", build)


@pytest.mark.parametrize("arguments", BOTH)
def test_totals_come_back(tmp_path, arguments):
  assert run(tmp_path, arguments, Halve()) == {"values": 28, "halves": 0 + 1 + 2 + 3 + 100}


@pytest.mark.parametrize("arguments", BOTH)
def test_the_first_error_by_step_and_number_is_raised_as_it_was(tmp_path, arguments):
  with pytest.raises(DataError) as raised:
    run(tmp_path, arguments, Halve(wrong=(5, 3, 7)), side_input=-1)
  assert str(raised.value) == "value 3: it is right. Received: it. Remedy: mend it."
  with pytest.raises(ConfigError, match="side input: it is not negative. Received: -1."):
    run(tmp_path / "again", arguments, Halve(), side_input=-1)


def test_other_errors_are_beams_own(tmp_path):
  with pytest.raises(Exception, match="not all arguments converted"):
    run(tmp_path, [], Halve(), values=["text"])


@pytest.mark.parametrize("arguments", BOTH)
def test_progress_is_told_while_the_graph_runs(tmp_path, arguments):
  told = []
  run(tmp_path, arguments, Halve(pause=0.4), progress=lambda *one: told.append((time.monotonic(), *one)))
  finished = time.monotonic()
  assert told[0][1:] == ("halving", 0, 8)
  halving = [(when, done) for when, description, done, _ in told if description == "halving"]
  assert [done for _, done in halving] == sorted(done for _, done in halving) and halving[-1][1] == 8
  # One value by one takes 3.2 s, three at a time 1.2 s.
  assert any(0 < done < 8 and when < finished - 0.3 for when, done in halving)
  assert told[-1][1:] == ("adding", 1, 1)


def test_a_graph_without_elements_has_no_totals(tmp_path):
  told = []
  assert run(tmp_path, [], Halve(), values=[], progress=lambda *one: told.append(one)) == {}
  assert told[0] == ("halving", 0, 0)

import errno
import hashlib
import html
import json
import pathlib
import shutil

import pytest

from diet_tf.config.config import build_config, load_config
from diet_tf.errors import ConfigError, DataError, StoreError
from diet_tf.memory.manifest import read_manifest
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from pipelines import command_line, local
from pipelines.data_folder import with_data_dir
from pipelines.workspace import SpanRecord, Workspace
from tests.diet_tf.small_report import make_result
from tfx_components.log_gen.plan import available_spans


def digests(folder: pathlib.Path) -> dict[str, str]:
  return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
          for path in sorted(folder.rglob("*")) if path.is_file()}


def memory_shards(store: Store, span: int) -> dict[str, str]:
  folder = pathlib.Path(store.path(store.read(span), "memory"))
  return {name: digest for name, digest in digests(folder).items() if name.endswith(".gz")}


@pytest.mark.slow(seconds=60)
def test_two_spans_through_both_runners(tiny_log, tmp_path, capsys):
  def run(output, *arguments):
    return command_line.run(["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder),
                             "--output", str(tmp_path / output), *arguments])

  # All spans but the last, on Beam; then the panel on the last.
  assert run("beam", "--json", str(tmp_path / "results.json")) == 0
  store = Store(str(tmp_path / "beam" / "store"))
  assert store.spans() == [0, 1]
  first, second = (read_manifest(store.path(commit, "memory")) for commit in store.commits())
  assert [entry["span"] for entry in second.lineage][-1] == 0
  assert [entry["digest"] for entry in second.lineage][-1] == first.digest
  assert second.num_examples_seen == 3000 and second.num_slots == 56  # 2 % of them, in batches of 8.
  check_store(store).require_sound()
  shown = capsys.readouterr()
  assert "Span 1 (2 of 2)" in shown.err and "Span 1 committed" in shown.err
  assert "whole log" in shown.out and store.path(store.read(1), "memory") in shown.out
  check_results(json.loads((tmp_path / "results.json").read_text()), second)
  page = (tmp_path / "beam" / "report.html").read_text()
  assert 10_000 < len(page) < 2_000_000 and "Not known" not in page and "diet run --config" in page
  # The same verdict in the terminal, on the page and in JSON; that two members are too few was told before.
  verdict = json.loads((tmp_path / "results.json").read_text())["verdict"]
  assert verdict["outcome"] != "choose" and verdict["text"] in shown.out and verdict["text"] in html.unescape(page)
  judged_on = f"Judged on 1,500 test rows, {verdict['test_clicks']:,} of them clicks"
  assert judged_on in shown.out and judged_on in page
  assert shown.err.index("The panel's 2 members have 1 pair") < shown.err.index("Span 0 (1 of 2)")
  assert [result.spans for result in Workspace(str(tmp_path / "beam")).kept_results()] == [(0, 1)]

  # Again: nothing to do, and the same figures without training anything.
  before = digests(tmp_path / "beam" / "store")
  assert run("beam") == 0
  shown = capsys.readouterr()
  assert "Committed before: 0, 1" in shown.err and "whole log" in shown.out
  results = json.loads((tmp_path / "beam" / "results.json").read_text())
  assert results == json.loads((tmp_path / "results.json").read_text())  # Seconds too: they were measured once.
  assert run("beam", "--span", "1") == 0
  shown = capsys.readouterr().err
  assert "Span 1 is committed" in shown and "other settings" not in shown
  assert run("beam", "--span", "1", "--seed", "5") == 0
  assert "Span 1 was committed with other settings, which its memory is of: seed: " in capsys.readouterr().err
  (tmp_path / "beam" / "report.html").unlink()
  assert command_line.report(["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), "--output",
                              str(tmp_path / "beam"), "--json", str(tmp_path / "reported.json")]) == 0
  assert json.loads((tmp_path / "reported.json").read_text()) == results
  shown = capsys.readouterr()
  assert "Span" not in shown.err and "whole log" in shown.out
  assert "diet report --config" in (tmp_path / "beam" / "report.html").read_text()
  assert digests(tmp_path / "beam" / "store") == before

  # Where the pipeline's own examples are gone, spans are encoded again, and the figures are the same.
  shutil.rmtree(tmp_path / "beam" / "spans")
  (tmp_path / "beam" / "results.key").unlink()
  assert run("beam") == 0
  again = json.loads((tmp_path / "beam" / "results.json").read_text())
  assert {**without_times(again), "members": without_seconds(again)} == {
      **without_times(results), "members": without_seconds(results)}
  # What the runs took stood in what was removed.
  assert again["distillation"] == {"seconds": None, "flops": None} and again["break_even_trainings"] is None
  capsys.readouterr()

  # A span of one class stops in LogGen: its own message, and the store as it was.
  tiny_log.with_one_class(3)
  with pytest.raises(DataError, match="both labels"):
    run("beam", "--span", "3")
  assert digests(tmp_path / "beam" / "store") == before

  # The other runner, elsewhere: the same bytes.
  assert run("local", "--runner", "local", "--span", "0") == 0
  assert run("local", "--runner", "local", "--span", "auto") == 0
  other = Store(str(tmp_path / "local" / "store"))
  for span in (0, 1):
    assert memory_shards(other, span) == memory_shards(store, span)
    assert other.read(span).data == store.read(span).data

  # Other content for a committed span, asked for by name: the old commit is kept aside.
  assert run("local", "--runner", "local", "--span", "1", "--replace", "--seed", "7", "--accept-changes") == 0
  assert other.read(1).data != store.read(1).data
  assert (tmp_path / "local" / "store" / "commits" / "1.replaced-1.json").exists()


def without_times(results):
  """The results without what was measured, and what follows from that or from what the pipeline runs left."""
  return {name: value for name, value in results.items() if not (
      name in ("seconds", "pass", "bill", "rival_wall") or name.startswith(("distillation", "break_even"))
      or name.endswith("_passes_wall"))}


def without_seconds(results):
  return json.loads(json.dumps(results["members"]), object_hook=lambda value: {
      name: entry for name, entry in value.items() if name != "seconds"})


def check_results(results, manifest):
  assert [member["name"] for member in results["members"]] == ["lr", "fm(embedding_dim=4)"]
  for member in results["members"]:
    for name in ("log_auc", "memory_auc", "random_hard_auc", "random_soft_auc"):
      assert 0.3 < member[name] < 1
    for name in ("log_logloss", "memory_logloss"):
      assert 0 < member[name] < 2
  assert results["records"] == {"log": 3000, "memory": 56, "test": 1500}
  assert results["bytes"]["memory"] == manifest.num_bytes
  passes = [member["trainings"]["log"]["epochs"] for member in results["members"]]  # Chosen for each on its own.
  # A training on the memory, with its share of choosing the member's own rates.
  on_memory = [56 * manifest.recipe.epochs + member["trainings"]["memory"]["rates"]["examples"]
               / len(member["trainings"]["memory"]["aucs"]) for member in results["members"]]
  assert results["cost_ratio"] == pytest.approx(3000 * sum(passes) / sum(on_memory))
  # Both spans' pipeline runs and operations are known, so that it is known what the memory costs.
  assert results["distillation"]["seconds"] > 1 and results["distillation"]["flops"] > 1e6
  assert results["distillation_passes_wall"] > 1 and results["distillation_passes_flops"] > 1
  assert results["bill"][0]["seconds"]["memory"] > results["distillation"]["seconds"]
  assert pathlib.Path(results["memory_uri"], "manifest.json").exists()
  assert pathlib.Path(results["report_uri"]).exists()


@pytest.mark.parametrize("runner", local.RUNNERS)
def test_what_an_executor_raises_is_raised_as_it_was(tiny_log, tmp_path, runner):
  tiny_log.with_one_class(1)
  config = with_data_dir(load_config(tiny_log.config_path), str(tiny_log.folder))
  store = Store(str(tmp_path / "store"))
  with pytest.raises(DataError) as caught:
    local.run_span(config, 1, Workspace(str(tmp_path / "out")), store_uri=store.uri, runner=runner)
  assert caught.value.exit_code == 3
  assert "both labels" in caught.value.rule and "click" in caught.value.received
  assert store.spans() == []
  assert not (tmp_path / "store").exists()
  assert Workspace(str(tmp_path / "out")).read_record(1) is None


@pytest.mark.parametrize("number, kind", [(errno.ENOSPC, StoreError), (errno.EACCES, OSError)])
def test_a_full_disk_is_explained_and_nothing_else_taken_for_one(tiny_log, tmp_path, monkeypatch, number, kind):
  def fail(*_, **options):
    raise OSError(number, "no")

  monkeypatch.setattr(local, "run_pipeline", fail)
  config = with_data_dir(load_config(tiny_log.config_path), str(tiny_log.folder))
  with pytest.raises(kind):
    local.run_span(config, 1, Workspace(str(tmp_path / "out")), store_uri=str(tmp_path / "store"))


def test_an_unknown_runner_is_refused():
  with pytest.raises(ConfigError, match="beam, local"):
    local.run_pipeline(None, "airflow")


def test_paths_are_relative_to_the_data_dir(tiny_log):
  config = load_config(tiny_log.config_path, {"log.joins": [{"pattern": "users.csv", "on": "user_id"},
                                                            {"pattern": "gs://bucket/items.csv", "on": "item_id"},
                                                            {"pattern": "/data/more.csv", "on": "item_id"}]})
  log = with_data_dir(config, "gs://logs/shop").log
  assert log.pattern == "gs://logs/shop/span-{SPAN}.csv"
  assert [join.pattern for join in log.joins] == ["gs://logs/shop/users.csv", "gs://bucket/items.csv", "/data/more.csv"]


def test_nothing_in_the_name_of_the_data_dir_is_a_pattern(tmp_path):
  for name in ("logs[1]", "logs1", "we[1]rd ?*", "we1rd ab"):
    (tmp_path / name).mkdir()
    (tmp_path / name / f"span-{len(name)}.csv").write_text("click\n1\n")
  config = build_config({"name": "x", "log": {"pattern": "span-{SPAN}.csv"}, "features": {
      "label": "click", "fields": [{"name": "user", "hash": 8}]}})
  for name in ("logs[1]", "logs1", "we[1]rd ?*", "we1rd ab"):
    assert available_spans(with_data_dir(config, str(tmp_path / name)).log) == [len(name)]


def test_records_of_spans(tmp_path):
  workspace = Workspace(str(tmp_path))
  record = SpanRecord(7, "run", "digest", "examples", "verdict", 1.5)
  assert workspace.read_record(7) is None
  workspace.write_record(record)
  assert workspace.read_record(7) == record
  (tmp_path / "spans" / "7.json").write_text("{}")
  assert workspace.read_record(7) is None


def test_results_are_kept_by_span(tmp_path):
  workspace = Workspace(str(tmp_path))
  assert workspace.kept_results() == []
  for span in (3, 4):
    workspace.keep_result(span, make_result().replace(spans=(span,)))
  (tmp_path / "results" / "5.json").write_text('{"format_name": "diet_tf.fidelity", "format_version": 99}')
  assert [result.spans for result in workspace.kept_results()] == [(3,), (4,)]


def test_the_output_of_a_local_run_is_a_local_folder():
  with pytest.raises(ConfigError, match="--store"):
    Workspace("gs://bucket/out")

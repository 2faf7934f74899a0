"""The command from end to end on a tiny log: its result, going on after an interruption, and what it refuses."""

import json

import numpy as np
import pytest
import yaml

from benchmarks.fidelity import __main__ as command
from benchmarks.fidelity.member_work import MemberScores
from diet_tf.errors import DataError

SET = ["distill.outer_steps=2", "distill.proxies=[lr]", "distill.num_initialisations=1", "distill.inner.batch_size=8",
       "budget.fraction=0.03", "gate.members=[lr]", "gate.num_seeds=1", "teacher.members=[dnn]"]


def write_log(folder):
  random = np.random.default_rng(0)
  for span in range(4):
    rows = [(user, item, int(random.random() < 0.25 + 0.05 * (user % 10)), 1000 * span + index) for index, (user, item)
            in enumerate(zip(random.integers(0, 40, 400), random.integers(0, 15, 400)))]
    text = "user,item,click,time\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    (folder / f"span-{span}.csv").write_text(text)
  config = {"name": "tiny", "log": {"pattern": "span-{SPAN}.csv"},
            "features": {"label": "click", "time": "time", "fields": [
                {"name": "user", "hash": 64, "ids_per_slot": 8}, {"name": "item", "vocabulary": 32}]}}
  (folder / "tiny.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("log")
  write_log(folder)
  return folder


def arguments(folder, *more):
  settings = [word for one in SET for word in ("--set", one)]
  return ["--dataset", "csv", "--config", str(folder / "tiny.yaml"), "--data-dir", str(folder), "--work",
          str(folder / "work"), "--jobs", "0", "--quick", *settings, *more]


@pytest.mark.slow(seconds=90)
def test_the_command_writes_its_result_and_goes_on_where_it_was(folder, capsys):
  out = folder / "out" / "result.json"
  more = ["--json", str(out), "--markdown", str(folder / "tables.md"), "--plots", str(folder / "plots")]
  assert command.main(arguments(folder, *more)) == 0
  result = json.loads(out.read_text())
  assert [member["name"] for member in result["members"]] == ["lr", "fm", "dnn", "dcn_v2"]
  assert [entry["span"] for entry in result["stream"]] == [0, 1, 2]
  passes = [member["log_epochs"] for member in result["members"]]
  assert set(passes) <= {1, 2, 4, 8}
  assert result["summary"]["cost_ratio"] == pytest.approx(sum(passes) / len(passes) * 1200 / 32, rel=0.2)
  assert set(result["members"][0]["baselines"]) == {
      f"{name}/{labels}{cost}" for name in ("random", "recent") for labels in ("hard", "soft")
      for cost in ("", "/equal_cost")}
  sources = {one["source"]: one for one in result["summary"]["sources"]}
  assert list(sources) == ["log", "memory", "one_recipe", "start", "unrefined", *result["summary"]["baselines"]]
  assert list(sources)[-2:] == ["sample/uniform/1_5", "sample/uniform/1_20"] and len(sources) == 5 + 8 + 2
  assert result["summary"]["distillation_passes_flops"] > 1 and len(result["summary"]["bill"]) == 5
  assert sources["sample/uniform/1_5"]["training_passes"]["flops"] == pytest.approx(0.2)
  # Three rates at least, on nine tenths of a pass, and the scores of held-back rows; then the training.
  assert sources["log"]["candidate_passes"]["flops"] > 0.9 * 3 + 1
  # On the memory a factor of the rates is chosen, unless it is trained on by its recipe.
  assert sources["memory"]["candidate_passes"]["flops"] > 2 * sources["memory"]["training_passes"]["flops"]
  assert sources["one_recipe"]["candidate_passes"] == sources["one_recipe"]["training_passes"]
  assert str(folder) not in out.read_text()
  assert "Members of the panel" in capsys.readouterr().out and (folder / "tables.md").read_text()
  assert sorted(path.suffix for path in (folder / "plots").iterdir())[0] == ".svg"

  # Pieces of work are cut in the middle: they alone are done again, with the same figures.
  scores = folder / "work" / "scores"
  random, sample = (next((scores / "fm").glob(name)) for name in ("random.npz", "sample-uniform-1-5-*.npz"))
  kept = scores / "lr" / "random.npz"
  span, distilled = (folder / "work" / name for name in ("encoded/1.npz", "distillations/unrefined-1"))
  slots = {path.name: path.read_bytes() for path in (distilled / "memory-2").iterdir()}
  for lost in (random, sample, span, folder / "work" / "log.npz", distilled / "record.json",
               distilled / "memory-2" / "manifest.json"):
    lost.unlink()
  before = kept.stat().st_mtime_ns
  assert command.main(arguments(folder, *more)) == 0
  assert random.exists() and kept.stat().st_mtime_ns == before
  again = json.loads(out.read_text())
  assert again["members"][1]["baselines"] == result["members"][1]["baselines"]
  assert again["members"][2] == result["members"][2]
  assert [one["mean_auc"] for one in again["summary"]["sources"]] == [one["mean_auc"] for one in sources.values()]
  assert {path.name: path.read_bytes() for path in (distilled / "memory-2").iterdir()} == slots


@pytest.mark.slow
def test_results_of_other_settings_are_not_mixed(folder, capsys):
  (folder / "other").mkdir(exist_ok=True)
  (folder / "other" / "settings.json").write_text('{\n "budget": 0.5\n}')
  changed = [word if word != str(folder / "work") else str(folder / "other") for word in arguments(folder)]
  assert command.main(changed) == 2
  message = capsys.readouterr().err
  assert "0.5" in message and "--work" in message


def test_development_leaves_the_test_unread(folder, tmp_path):
  from benchmarks.fidelity.encoded_log import development_spans, encode_log, read_log
  config = command.load(command.parse(arguments(folder, "--development")), str(tmp_path))
  encode_log(config, str(tmp_path), spans=development_spans(config))
  log = read_log(config, str(tmp_path))
  assert (log.train_spans, log.test_spans) == ((0, 1), (2,)) and set(log.rows.spans) == {0, 1, 2}
  assert not (tmp_path / "encoded" / "3").exists()


def test_parts_are_left_out_by_name(folder, tmp_path):
  given = arguments(folder)
  given.remove("--quick")
  # Sub-samples: three kinds of five shares, and the oldest at four.
  for without, parts in ((["large"], (19, 11, 19, True)), (["rivals", "baselines", "ablations"], (25, 0, 0, False))):
    options = command.parse([*given, "--development", "--without", *without])
    benchmark, _ = command.make_benchmark(options, command.load(options, str(tmp_path)), str(tmp_path))
    assert benchmark.development
    assert (len(benchmark.members), len(benchmark.selections), len(benchmark.samples),
            benchmark.with_ablations) == parts


def test_csv_needs_a_config(capsys, tmp_path):
  assert command.main(["--dataset", "csv", "--work", str(tmp_path)]) == 2
  assert "--config" in capsys.readouterr().err


def test_a_log_of_one_span_has_nothing_to_test_on(tmp_path, folder):
  from benchmarks.fidelity.encoded_log import encode_log
  config = command.load(command.parse(arguments(folder, "--test-spans", "4")), str(tmp_path))
  with pytest.raises(DataError, match="--test-spans 4"):
    encode_log(config, str(tmp_path))
  assert not (tmp_path / "encoded").exists()


@pytest.mark.parametrize("memory, start, hard, soft, passed", [
    (0.73, 0.70, 0.69, 0.72, True), (0.70, 0.70, 0.69, 0.60, False), (0.73, 0.69, 0.69, 0.60, False),
    (0.73, 0.70, 0.69, 0.73, False)])
def test_the_check_wants_the_memory_above_its_start_and_the_start_above_random_rows(memory, start, hard, soft, passed):
  means = {"memory": memory, "unrefined": start, "random/hard/equal_cost": hard, "random/soft/equal_cost": soft}
  result = {"summary": {"panel_mean_auc": {name: {"mean": value} for name, value in means.items()}}}
  assert command.passes_check(result) is passed


def test_scores_are_read_as_they_were_written(tmp_path):
  from benchmarks.fidelity.benchmark import Benchmark
  from benchmarks.fidelity.trained import Trained
  benchmark = Benchmark(None, str(tmp_path), (), (), (), (), 1, ())
  scores = {"log": Trained(np.float32([[1, 2]]), 0.003, 1, 100, 2.5e9, 0.25),
            "memory": Trained(np.float32([[3, 4]]), None, 2, 10, 1e8, 0.125)}
  piece = MemberScores("dnn(embedding_dim=4)", "log")
  piece.write(benchmark, scores)
  for source, trained in piece.read(benchmark).items():
    np.testing.assert_array_equal(trained.logits, scores[source].logits)
    assert facts(trained) == facts(scores[source])


def facts(trained):
  return (trained.learning_rate, trained.epochs, trained.examples, trained.flops, trained.seconds)

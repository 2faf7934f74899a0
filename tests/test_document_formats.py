"""All formats of documents: what is missing, unknown, of another type or newer is refused by name, at any depth."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks.fidelity.results import RESULT as BENCHMARK
from diet_tf.distillation.carried_rows import CARRIED, CarriedRows
from diet_tf.distillation.gate import Verdict
from diet_tf.distillation.growth import Growth
from diet_tf.distillation.refinement import Refined
from diet_tf.distillation.scoring import SCORES
from diet_tf.distillation.stage import Start
from diet_tf.distillation.teacher import TEACHER, TeacherSettings
from diet_tf.errors import FormatError
from diet_tf.fidelity.comparison import COMPARISON, Comparison, RankedMember
from diet_tf.fidelity.grouping import Grouping
from diet_tf.fidelity.metric_result import MetricFigures, MetricScope
from diet_tf.fidelity.panel_metrics import PanelMetric
from diet_tf.fidelity.result import RESULT, FidelityResult
from diet_tf.io.arrays import ArrayFormat, read_arrays, write_arrays
from diet_tf.io.documents import DocumentFormat
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.encoding import VOCABULARIES, write_vocabularies
from diet_tf.log.row_counts import RowCounts, RowTally
from diet_tf.memory.export import DESCRIPTION, export_memory
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.manifest import MANIFEST
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.metrics import PairedDifference
from diet_tf.report.stage_record import STAGE_RECORD, StageRecord, StageSummary
from diet_tf.store.commit import COMMIT, FORGOTTEN, PIN
from pipelines.workspace import RECORD, SpanRecord, Workspace
from tests.diet_tf.small_report import make_by_metric, make_result, make_stages
from tests.fuzz.valid_files import SPEC, make_formats
from tfx_components import stage_files
from tfx_components.influence_scorer import score
from tfx_components.log_gen.summary import SUMMARY as LOG_SUMMARY
from tfx_components.log_gen.summary import LogSummary

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("diet_tf", "tfx_components", "pipelines", "benchmarks")


@dataclasses.dataclass(frozen=True)
class Case:
  """One format with a valid document.

  Attributes:
    form: the format.
    open_keys: keys below which any keys may stand, as a regular expression of the dotted path.
    any_type: keys whose values are checked by rules of the reader's own, as a regular expression of the dotted path.
  """

  form: DocumentFormat
  open_keys: str = "(?!)"
  any_type: str = "(?!)"


VERDICT_MAPPINGS = r"losses|differences|standard_errors"
CASES = {case.form.name: case for case in (
    Case(MANIFEST, r"max_ids|budget|lineage\.\d+|versions|users_per_id\.\d+|recipe\.learning_rates",
         r"span|num_slots|num_examples_seen|(max_ids|budget|lineage\.\d+|users_per_id\.\d+|shards\.\d+)\..*"),
    Case(COMMIT, r"settings(\..*)?|files", r"settings\..*"),
    Case(FORGOTTEN),
    Case(PIN),
    Case(TEACHER),
    Case(STAGE_RECORD, rf"summary\.(actions|seconds|flops|verdict\.({VERDICT_MAPPINGS}))|slots_by_age(\.\d+)?|coverage|"
         r"rows\.(quarantined|dropped)"),
    Case(DESCRIPTION, r"recipe\.learning_rates"),
    Case(RESULT, r"records|bytes|examples_processed|flops|seconds|settings|differences|baselines|"
         r"members\.\d+\.(trainings|differences)|rows(\.\d+\.(quarantined|dropped))?|"
         r"by_metric(\.ndcg@10\.(baselines|members\.\d+\.(trainings|differences)))?",
         r"settings\..*"),
    Case(COMPARISON, r"diverged|members\.\d+\.by_metric"),
    Case(VOCABULARIES, "vocabularies"),
    Case(LOG_SUMMARY, r"quarantine_reasons|vocabulary_sizes|rows\.(quarantined|dropped)"),
    Case(stage_files.START, "counts"),
    Case(CARRIED),
    Case(stage_files.REFINEMENT),
    Case(stage_files.VERDICT, VERDICT_MAPPINGS),
    Case(score.SUMMARY),
    Case(RECORD),
    Case(BENCHMARK, r"(members|stream|ablations)\.\d+|summary|settings",
         r"((members|stream|ablations)\.\d+|summary|settings)\..*"))}
# Beside `format_name`, and keys that only some documents have.
ABSENTABLE = {"diet_tf.log_summary": {"salt_check"}, "diet_tf.fidelity": {"by_metric", "grouping"},
              "diet_tf.comparison": {"by_metric", "metrics", "grouping"}}
ARRAY_FORMATS = {form.name: form for form in (SCORES, score.SLOT_INFLUENCES)}


def write_all(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """A valid document of each format as its writer makes it, by the format's name."""
  paths = {}
  for name, form in make_formats(folder).items():
    if name in ("manifest", "commit", "forgotten", "pin"):
      path = folder / f"valid-{name}.json"
      path.write_bytes(form.content)
      paths[json.loads(form.content)["format_name"]] = path
  memory = save_memory(str(folder / "exported"), make_memory())
  export_memory(memory, "memory", str(folder / "export"), "numpy")
  paths[DESCRIPTION.name] = folder / "export" / "export.json"
  TEACHER.write(str(folder / "teacher.json"), TEACHER.document({
      "seed": 3, "settings": dataclasses.asdict(TeacherSettings()), "feature_spec_digest": SPEC.digest(),
      "num_examples_seen": 90, "num_checkpoints": 2}))
  make_stages()[2].write(str(folder / "stage.json"))
  worth = {"lr": {"log": 0.7, "memory": 0.6}, "dnn": {"log": 0.72, "memory": 0.59}}
  RESULT.write(str(folder / "results.json"), make_by_metric(make_result(), "ndcg@10", worth).to_dict())
  COMPARISON.write(str(folder / "comparison.json"), make_comparison().to_dict())
  write_vocabularies(str(folder / "vocabularies.json"), {"tag": ["a", "\u00e9"]})
  rows = RowCounts(RowTally(10, 9, 3), RowTally(8, 8, 2), {"label is missing": RowTally(1)},
                   {"equal": RowTally(1, 1, 1)})
  LogSummary(1, rows, DuplicateRule(("id",)), 0, 9, ({"pattern": "u.csv", "way": "broadcast", "num_keyed": 8,
             "num_matched": 7},), {"tag": 2}, ("data-0.gz",), ("log.csv",), SPEC.digest(), "f" * 16,
             ("-",)).write(str(folder / "log_summary.json"))
  unrefined = LastRefinement(2, 2, 60, 1)
  stage_files.write_start(str(folder), Start(memory.slots, np.int8([1, 2, 3]), Recipe(), {"add": 3}, 90,
                                             Growth(unrefined, "it has hardly grown.")), 30)
  CarriedRows(EncodedRows(np.zeros((2, len(SPEC.fields)), np.int32), example_ids=np.arange(2)), 30, 2, 60).write(
      str(folder), SPEC)
  stage_files.write_refinement(str(folder), Refined(memory.slots, Recipe(), np.float32([0.5, 0.25]), ("dnn", "fm"), 1))
  stage_files.write_verdict(str(folder), Verdict("refined", {"refined": 0.5, "start": math.nan}, {"start": math.nan},
                                                 {"start": math.nan}), 3, 30)
  score.ScoresSummary(3, 30, 3, 0.5, SPEC.digest()).write(str(folder))
  workspace = Workspace(str(folder / "run"))
  workspace.write_record(SpanRecord(3, "run-3", SPEC.digest(), "examples", "verdict", 12.5))
  BENCHMARK.write(str(folder / "benchmark.json"), BENCHMARK.document({
      "members": [{"name": "lr"}], "summary": {"mean_recovery": 0.9}, "stream": [{"span": 1}], "ablations": [],
      "settings": {"seeds": 3}}))
  for name, file in {TEACHER.name: "teacher", CARRIED.name: "carried", STAGE_RECORD.name: "stage",
                     RESULT.name: "results", COMPARISON.name: "comparison", VOCABULARIES.name: "vocabularies",
                     LOG_SUMMARY.name: "log_summary",
                     stage_files.START.name: "start", stage_files.REFINEMENT.name: "refinement",
                     stage_files.VERDICT.name: "verdict", score.SUMMARY.name: "scores", RECORD.name: "run/spans/3",
                     BENCHMARK.name: "benchmark"}.items():
    paths[name] = folder / f"{file}.json"
  return paths


def make_memory() -> Memory:
  from tests.fuzz import valid_files

  return Memory.create(valid_files._slots(), SPEC, Recipe(step_multipliers=(1.0, 0.5)), span=3, num_examples_seen=90,
                       budget={"fraction": 0.1})


def make_comparison() -> Comparison:
  gauc = MetricFigures((0.7,), 0.01, 0.01)
  best = RankedMember("dnn", (0.7,), (0.6,), 1.5, None, "weighted", "", by_metric={"gauc": gauc})
  other = RankedMember("lr", (0.6,), (0.65,), 0.5, PairedDifference(-0.1, math.nan, math.inf), "weighted", "")
  return Comparison((best, other), (("dnn", "lr"),), {"fm": "nan"}, (0,), 30, 4,
                    {"digest": "a" * 64, "span": 3, "num_slots": 50},
                    scopes=(MetricScope(PanelMetric.of("gauc"), 9, 2, 8),), grouping=Grouping("user", 11, 3, math.nan))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
  return write_all(tmp_path_factory.mktemp("documents"))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
  """Every place of a document below its top, with what stands there."""
  children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
  for key, child in children:
    yield (*path, key), child
    yield from places(child, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any = None, *, remove: bool = False) -> Any:
  """A copy of the document with another value at a place, or without the place."""
  copy = json.loads(json.dumps(value))
  at = copy
  for key in path[:-1]:
    at = at[key]
  if remove:
    del at[path[-1]]
  else:
    at[path[-1]] = new
  return copy


def dotted(path: tuple[Any, ...]) -> str:
  return ".".join(map(str, path))


def test_every_format_of_the_project_has_a_case():
  declared = set()
  for package in PACKAGES:
    for path in (ROOT / package).rglob("*.py"):
      text = path.read_text()
      declared |= set(re.findall(r'(?:DocumentFormat|ArrayFormat)\(\s*"(diet_tf\.\w+)"', text))
      # Only the two classes write the name of a format.
      assert '"format_name":' not in text or path.parent == ROOT / "diet_tf" / "io", path
  assert declared == {*CASES, *ARRAY_FORMATS} and len(declared) == 20


@pytest.mark.parametrize("name", CASES)
def test_a_valid_document_is_read_and_written_with_the_same_bytes(paths, tmp_path, name):
  form, path = CASES[name].form, paths[name]
  content = path.read_bytes()
  document = json.loads(content)
  assert form.read(str(path)).keys() == document.keys() - {"format_name", "format_version"}
  form.write(str(tmp_path / "again.json"), document)
  assert (tmp_path / "again.json").read_bytes() == content


@pytest.mark.parametrize("name", CASES)
def test_a_key_that_is_missing_at_any_depth_is_named(paths, name):
  case, document = CASES[name], json.loads(paths[name].read_bytes())
  closed = 0
  for path, _ in places(document):
    if isinstance(path[-1], int) or re.fullmatch(case.open_keys, dotted(path[:-1])):
      continue
    if path[-1] in ABSENTABLE.get(name, ()):
      case.form.check(changed(document, path, remove=True), "file.json")
      continue
    closed += 1
    with pytest.raises(FormatError, match=rf"{path[-1]}") as caught:
      case.form.check(changed(document, path, remove=True), "file.json")
    assert caught.value.subject == (f"file.json: {dotted(path[:-1])}" if path[:-1] else "file.json"), path
    assert caught.value.remedy
  assert closed >= 3


@pytest.mark.parametrize("name", CASES)
def test_a_key_that_is_unknown_at_any_depth_is_named(paths, name):
  case, document = CASES[name], json.loads(paths[name].read_bytes())
  for path, value in [((), document), *places(document)]:
    if isinstance(value, dict) and not re.fullmatch(case.open_keys, dotted(path)):
      with pytest.raises(FormatError, match="unknown: .'colour'") as caught:
        case.form.check(changed(document, (*path, "colour"), "red"), "file.json")
      assert caught.value.subject == (f"file.json: {dotted(path)}" if path else "file.json")


@pytest.mark.parametrize("name", CASES)
def test_a_value_of_another_type_is_named(paths, name):
  case, document = CASES[name], json.loads(paths[name].read_bytes())
  for path, value in places(document):
    if path[0] in ("format_name", "format_version") or re.fullmatch(case.any_type, dotted(path)):
      continue
    with pytest.raises(FormatError, match="it is ") as caught:
      case.form.check(changed(document, path, 7 if isinstance(value, (dict, list)) else ["wrong"]), "file.json")
    assert caught.value.subject == f"file.json: {dotted(path)}" and "Received: " in str(caught.value)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("version", "message"), [
    (None, "format_version is an integer"), (True, "format_version is an integer"), ("1", "is an integer"),
    (0, "format_version is an integer"), (99, "up to format version.*format version 99.*upgrade")])
def test_another_version_is_refused(paths, name, version, message):
  document = {**json.loads(paths[name].read_bytes()), "format_version": version}
  with pytest.raises(FormatError, match=message):
    CASES[name].form.check(document, "file.json")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("document", [[], 1, None, "x", {}, {"format_name": "other"}])
def test_what_is_no_document_of_the_format_is_refused(name, document):
  with pytest.raises(FormatError, match="JSON object|format_name is"):
    CASES[name].form.check(document, "file.json")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_no_document_is_written_with_a_number_that_json_does_not_have(paths, tmp_path, name, number):
  document = {**json.loads(paths[name].read_bytes()), "seconds": number}
  with pytest.raises(ValueError, match="not JSON compliant"):
    CASES[name].form.write(str(tmp_path / "x.json"), document)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["actions", "span", "outer_losses", "seconds", "verdict"])
def test_a_stage_summary_without_a_key_is_refused_by_its_name(paths, key):
  value = json.loads(paths[STAGE_RECORD.name].read_bytes())["summary"]
  with pytest.raises(FormatError, match=f"missing: .'{key}'"):
    StageSummary.from_dict(changed(value, (key,), remove=True))


@pytest.mark.parametrize("influences", [{"edges": [0.0, 1.0], "counts": [1, 2]}, {"edges": [1.0, 0.0], "counts": [1]},
                                        {"edges": [0.0, 1.0], "counts": [-1]}])
def test_a_histogram_that_contradicts_itself_is_refused(paths, tmp_path, influences):
  document = json.loads(paths[STAGE_RECORD.name].read_bytes())
  STAGE_RECORD.write(str(tmp_path / "stage.json"), {**document, "influences": influences})
  with pytest.raises(FormatError, match=r"stage\.json: influences: its values are as its writer made them"):
    StageRecord.read(str(tmp_path / "stage.json"))


def test_figures_that_do_not_exist_are_null_and_read_back_as_nan(paths):
  assert "NaN" not in paths[stage_files.VERDICT.name].read_text()
  verdict, span = stage_files.read_verdict(str(paths[stage_files.VERDICT.name].parent))
  assert span == 3 and verdict.losses["refined"] == 0.5 and math.isnan(verdict.losses["start"])
  result = FidelityResult.from_dict(json.loads(paths[RESULT.name].read_bytes()))
  difference = result.members[0].differences["random_soft"]
  assert math.isnan(difference.standard_error) and not difference.resolved


@pytest.mark.parametrize("name", ARRAY_FORMATS)
def test_columns_of_another_kind_are_refused(tmp_path, name):
  form: ArrayFormat = ARRAY_FORMATS[name]
  columns = {key: np.arange(3).astype(dtype) for key, dtype in form.columns.items()}
  path = str(tmp_path / "x.npz")
  form.write(path, columns)
  read = form.read(path)
  assert {key: value.tolist() for key, value in read.items()} == {key: one.tolist() for key, one in columns.items()}
  valid, first = read_arrays(path), next(iter(columns))
  broken: list[dict[str, Any]] = [{key: value for key, value in valid.items() if key != gone} for gone in valid]
  broken += [{**valid, **change} for change in (
      {"colour": np.arange(3)}, {first: np.arange(2)}, {first: np.arange(3).astype(np.int16)},
      {key: value.reshape(3, 1) for key, value in columns.items()}, {"format_version": np.array(99)},
      {"format_name": np.array("other")})]
  for arrays in broken:
    write_arrays(path, arrays)
    with pytest.raises(FormatError, match=r"x\.npz"):
      form.read(path)

"""What is kept of old spans: their artifacts in the output folder, and their commits in the store."""

import pathlib

import pytest
from ml_metadata.proto import metadata_store_pb2

from diet_tf.config.retention import RetentionSettings
from diet_tf.errors import ConfigError
from diet_tf.store.pins import pin_commit
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from pipelines import runs
from pipelines.retention import Removed, apply_retention
from pipelines.workspace import SpanRecord
from tests.pipelines.output_folder import OutputFolder

NOTHING = Removed(0, 0, 0)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> OutputFolder:
  """Runs of the spans 1 to 4, the second of them twice, and a test span beside the pipeline."""
  made = OutputFolder(tmp_path / "out")
  for run, span in enumerate((1, 2, 2, 3, 4)):
    for node in ("LogGen", "StatisticsGen", "FidelityEvaluator"):
      made.execute(f"run-{run}", node, span=None if node == "StatisticsGen" else span)
    made.workspace.write_record(SpanRecord(span, f"run-{run}", "digest", "examples", "verdict", 1.0))
  for number in (3, 6, 9, 12, 15):  # Of FidelityEvaluator.
    verdict = made.folder / "pipeline" / "FidelityEvaluator" / "verdict" / str(number)
    verdict.mkdir(parents=True)
    (verdict / "stage.json").write_text("{}")
  for span in (1, 5):
    (made.folder / "examples" / str(span)).mkdir(parents=True)
    (made.folder / "examples" / str(span) / "data").write_text("12345")
  return made


@pytest.fixture
def store(folder: OutputFolder, tmp_path: pathlib.Path) -> Store:
  made = Store(folder.workspace.store_uri)
  for span in range(1, 5):
    (tmp_path / f"content-{span}").write_text(f"of span {span}")
    made.commit(span, {"notes": str(tmp_path / f"content-{span}")}, parent=made.newest(below=span), settings={},
                run_id=f"run-{span}")
  return made


def kept(folder: OutputFolder, node: str = "LogGen") -> list[int]:
  return sorted(int(path.name) for path in (folder.folder / "pipeline" / node / "examples").iterdir())


def test_by_default_all_is_kept(folder: OutputFolder, store: Store):
  assert apply_retention(RetentionSettings(), folder.workspace, store) == NOTHING
  assert store.spans() == [1, 2, 3, 4] and len(kept(folder)) == 5


def test_artifacts_of_the_newest_spans_stay_and_of_others_the_record_alone(folder: OutputFolder, store: Store):
  removed = apply_retention(RetentionSettings(output_spans=2), folder.workspace, store)
  # Of three runs, three nodes each, and one encoded span.
  assert (removed.num_commits, removed.num_folders, removed.num_bytes) == (0, 10, 9 + 5)
  assert (kept(folder), kept(folder, "StatisticsGen")) == ([10, 13], [11, 14])
  assert [path.name for path in (folder.folder / "examples").iterdir()] == ["5"]
  assert len(list(folder.folder.glob("pipeline/FidelityEvaluator/verdict/*/stage.json"))) == 5
  assert folder.workspace.recorded_spans() == [1, 2, 3, 4] and store.spans() == [1, 2, 3, 4]
  assert apply_retention(RetentionSettings(output_spans=2), folder.workspace, store) == NOTHING


def test_artifacts_stay_while_a_neighbour_may_read_them(folder: OutputFolder, store: Store):
  with runs.living_run(folder.workspace, "neighbour"):
    assert apply_retention(RetentionSettings(output_spans=1), folder.workspace, store) == NOTHING
  assert len(kept(folder)) == 5
  assert apply_retention(RetentionSettings(output_spans=1), folder.workspace, store).num_folders > 0
  assert kept(folder) == [13]


def test_ml_metadata_is_told_which_artifacts_are_gone(folder: OutputFolder, store: Store):
  numbers = {span: folder.execute(f"more-{span}", "Pusher", outputs=("Model",), span=span) for span in (1, 4)}
  for artifact, span in zip(folder.metadata.get_artifacts(), numbers, strict=True):
    artifact.uri = str(folder.folder / "pipeline" / "Pusher" / "examples" / str(numbers[span]))
    folder.metadata.put_artifacts([artifact])
  apply_retention(RetentionSettings(output_spans=1), folder.workspace, store)
  deleted = metadata_store_pb2.Artifact.DELETED
  assert [artifact.state == deleted for artifact in folder.metadata.get_artifacts()] == [True, False]


def test_what_no_run_is_known_to_have_made_stays(folder: OutputFolder, store: Store):
  other = folder.folder / "pipeline" / "LogGen" / "examples" / "999"
  other.mkdir()
  (folder.folder / "metadata.sqlite").write_text("no database")
  removed = apply_retention(RetentionSettings(output_spans=1), folder.workspace, store)
  assert other.exists() and len(kept(folder)) == 6 and removed.num_folders == 1  # The encoded span.


def test_commits_of_the_newest_spans_and_pinned_ones_stay(folder: OutputFolder, store: Store):
  pin_commit(store, 1, "model v12 in production")
  removed = apply_retention(RetentionSettings(store_spans=2), folder.workspace, store)
  assert removed.num_commits == 1 and removed.num_folders == 0 and removed.num_bytes > 0
  assert store.spans() == [1, 3, 4] and store.known_spans() == [1, 2, 3, 4]
  check_store(store).require_sound()
  assert len(kept(folder)) == 5


def test_a_replaced_commit_stays_as_long_as_its_span(folder: OutputFolder, store: Store, tmp_path: pathlib.Path):
  for span in (2, 4):
    store.commit(span, {"notes": str(tmp_path / "content-1")}, parent=None, settings={}, run_id="again", replace=True)
  apply_retention(RetentionSettings(store_spans=2), folder.workspace, store)
  assert [str(name) for name in store.names()] == ["3.json", "4.replaced-1.json", "4.json"]


@pytest.mark.parametrize("name", ["output_spans", "store_spans"])
def test_the_newest_span_is_always_kept(name: str):
  with pytest.raises(ConfigError, match=f"retention.{name}"):
    RetentionSettings(**{name: 0})

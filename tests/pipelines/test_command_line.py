import pathlib
import shlex
import sys

import pytest

from diet_tf.errors import ConfigError, DataError, notes_of
from diet_tf.log.simulate import SimulatedLogSettings
from diet_tf.store.garbage import collect_garbage
from diet_tf.store.store import Store
from pipelines import command_line, demo
from pipelines.command_line import Options


@pytest.fixture
def asked(monkeypatch):
  """What `diet run` would run: the config, the data folder and the options."""
  calls = []
  monkeypatch.setattr(command_line, "_run", lambda *arguments: calls.append(arguments) or 0)
  return calls


def run(tiny_log, *arguments):
  return command_line.run(["--config", tiny_log.config_path, *arguments])


def test_defaults(tiny_log, asked):
  assert run(tiny_log) == 0
  config, data_dir, options = asked[0]
  assert (config.name, config.seed, config.output, data_dir) == ("tiny", 0, "diet_runs/tiny", ".")
  assert options == Options(command=f"diet run --config {tiny_log.config_path}")
  assert options.evaluate and options.store_uri is None and options.runner == "beam"


def test_arguments_override_the_config(tiny_log, asked):
  run(tiny_log, "--data-dir", "/data", "--output", "/out", "--store", "s3://bucket/store", "--runner", "local",
      "--seed", "4", "--replace", "--set", "budget.fraction=0.5", "--set", "gate.members=[fm]",
      "--beam-arg=--direct_num_workers=2")
  config, data_dir, options = asked[0]
  assert (config.seed, config.output, config.budget.fraction, config.gate.members) == (4, "/out", 0.5, ("fm",))
  assert data_dir == "/data"
  assert (options.store_uri, options.runner, options.replace) == ("s3://bucket/store", "local", True)
  assert options.beam_pipeline_args == ("--direct_num_workers=2",)


# Texts that YAML takes for a comment, nothing, numbers, a list, truth values, a section, an alias, a tag.
TEXTS = ["exp #3", "null", "~", "20240101", "1e3", "010", "[old]", "yes", "true", "{a: b}", "*a", "&a", "!x", "a: b",
         "'q'", '"q', "- x", "a=b", "50%", "-1", "日本"]


@pytest.mark.parametrize("text", TEXTS)
def test_paths_are_the_texts_that_were_given(tiny_log, asked, text, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  config = tmp_path / text
  config.write_text(pathlib.Path(tiny_log.config_path).read_text())
  words = [f"--{name}={text}" for name in ("config", "data-dir", "output", "store", "json")]
  assert command_line.run(words) == 0
  config, data_dir, options = asked[0]
  assert [config.output, data_dir, options.store_uri, options.json_path] == [text] * 4
  assert command_line._absolute(config.output) == str(tmp_path / text)
  assert shlex.split(options.command) == ["diet", "run", *words]


@pytest.mark.parametrize("text", TEXTS)
def test_the_folder_of_a_demo_is_the_text_that_was_given(text):
  config = demo.demo_config(text)
  assert config.output == text
  assert demo.resume_command(text, (), runner="beam", json_path=None, beam_arguments=()).startswith("diet run")


def test_a_folder_with_an_odd_name_has_the_store_and_everything_else(tiny_log, tmp_path, monkeypatch):
  # The log is refused once the folder is known: nothing is distilled here.
  monkeypatch.chdir(tmp_path)
  opened = []
  monkeypatch.setattr(command_line, "_check_memory_to_judge", lambda job: opened.append(job) or sys.exit(0))
  with pytest.raises(SystemExit):
    command_line.report(["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), "--output", "exp #3"])
  assert opened[0].workspace.output == str(tmp_path / "exp #3")
  assert opened[0].store.uri == str(tmp_path / "exp #3" / "store")


@pytest.mark.parametrize("option", ["--config", "--data-dir", "--output", "--store", "--json"])
def test_an_empty_path_is_refused_and_not_taken_for_none(tiny_log, asked, option, capsys):
  with pytest.raises(SystemExit):
    run(tiny_log, option, "")
  assert not asked and "the text is empty" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, expected", [
    ((), True), (("--span", "1"), False), (("--span", "auto"), False), (("--span", "1", "--json", "out"), True),
    (("--span", "1", "--evaluate"), True), (("--no-evaluate",), False)])
def test_when_the_panel_is_trained(tiny_log, asked, arguments, expected):
  run(tiny_log, *arguments)
  assert asked[0][2].evaluate is expected


@pytest.mark.parametrize("arguments, message", [
    (("--span", "tomorrow"), "--span"), (("--set", "distil.outer_steps=3"), "did you mean 'distill'"),
    (("--set", "seed"), "key=value"), (("--set", "a..b=1"), "did you mean 'a.b'"),
    (("--set", "log"), "write log=VALUE")])
def test_bad_arguments_are_refused_before_anything_starts(tiny_log, asked, arguments, message):
  with pytest.raises(ConfigError, match=message):
    run(tiny_log, *arguments)
  assert not asked


def test_classes_of_a_user_are_found_in_the_current_folder(tiny_log, asked, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  run(tiny_log)
  assert str(tmp_path) not in sys.path
  run(tiny_log, "--set", "panel.members=[lr, 'my_models:TwoTower']")
  assert sys.path[-1] == str(tmp_path)
  with pytest.raises(ConfigError, match="panel.members.*--no-user-code.*my_models:TwoTower"):
    run(tiny_log, "--set", "panel.members=[lr, 'my_models:TwoTower']", "--no-user-code")


def test_a_missing_config_names_the_file(asked):
  with pytest.raises(ConfigError, match="nowhere.yaml"):
    command_line.run(["--config", "nowhere.yaml"])


def test_a_log_that_is_not_there_names_the_pattern(tiny_log, tmp_path):
  with pytest.raises(DataError, match="elsewhere.*--data-dir"):
    run(tiny_log, "--data-dir", str(tmp_path / "elsewhere"), "--output", str(tmp_path / "out"))


def test_results_that_cannot_be_had_are_refused_before_anything_runs(tiny_log, tmp_path):
  with pytest.raises(DataError, match="--json"):
    run(tiny_log, "--data-dir", str(tiny_log.folder), "--output", str(tmp_path / "out"), "--span", "2", "--json",
        str(tmp_path / "results.json"))
  assert not (tmp_path / "out").exists()


def test_spans_whose_commits_were_removed_are_not_run_again(tiny_log, tmp_path, monkeypatch, capsys):
  (tmp_path / "content").write_text("x")
  store = Store(str(tmp_path / "store"))
  for span in (0, 1):
    store.commit(span, {"notes": str(tmp_path / "content")}, parent=store.newest(below=span), settings={}, run_id="r")
  collect_garbage(store, 1)
  distilled = []
  monkeypatch.setattr(command_line, "_distil", lambda job, span, options: distilled.append(span))
  arguments = ["--data-dir", str(tiny_log.folder), "--output", str(tmp_path / "out"), "--store", store.uri,
               "--no-evaluate"]
  assert run(tiny_log, *arguments) == 0
  assert distilled == [] and "Committed before: 0, 1" in capsys.readouterr().err
  assert run(tiny_log, *arguments, "--span", "2") == 0
  assert distilled == [2]


def report(tiny_log, tmp_path, *arguments):
  return command_line.report(["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), "--output",
                              str(tmp_path / "out"), "--store", str(tmp_path / "store"), *arguments])


def test_a_report_needs_a_memory(tiny_log, tmp_path):
  with pytest.raises(DataError, match="store without commits.*diet run"):
    report(tiny_log, tmp_path)
  assert not (tmp_path / "out").exists()


def test_a_report_needs_a_span_after_those_of_the_memory(tiny_log, tmp_path):
  (tmp_path / "content").write_text("x")
  Store(str(tmp_path / "store")).commit(2, {"notes": str(tmp_path / "content")}, parent=None, settings={}, run_id="r")
  with pytest.raises(DataError, match="a memory up to span 2, and a log up to span 2.*next span"):
    report(tiny_log, tmp_path)


def test_a_report_judges_the_newest_memory_and_distils_nothing(tiny_log, tmp_path, monkeypatch):
  (tmp_path / "content").write_text("x")
  store = Store(str(tmp_path / "store"))
  for span in (0, 1):
    store.commit(span, {"notes": str(tmp_path / "content")}, parent=store.newest(below=span), settings={}, run_id="r")
  asked = []
  monkeypatch.setattr(command_line, "_evaluate", lambda job, options: asked.append(
      (job.store.uri, job.test_spans(), options.command)))
  monkeypatch.setattr(command_line, "_distil", None)
  assert report(tiny_log, tmp_path, "--set", "test_spans=2") == 0
  assert asked[0][:2] == (store.uri, (2,)) and asked[0][2].startswith("diet report --config")


class Distilling:
  """Stands for `_distil`: commits a text per span, and fails at one of them, before its commit or after it."""

  def __init__(self, folder, fails_at, error=None, *, after_commit=False):
    self.folder, self.fails_at, self.error, self.after_commit = folder, fails_at, error, after_commit
    self.distilled = []

  def __call__(self, job, span, options):
    self.distilled.append(span)
    if span == self.fails_at and not self.after_commit:
      raise self.error
    content = self.folder / f"content-{span}"
    content.write_text(f"{span}, made by run {id(self)}")
    job.store.commit(span, {"notes": str(content)}, parent=None, settings={}, run_id="r",
                            replace=options.replace)
    if span == self.fails_at:
      raise self.error


@pytest.mark.parametrize("error", [DataError("span 1", rule="r.", received="x.", remedy="y."), RuntimeError("boom"),
                                   KeyboardInterrupt()])
def test_a_run_that_is_cut_says_how_to_go_on_and_that_command_does(tiny_log, tmp_path, monkeypatch, error):
  store = ["--data-dir", str(tiny_log.folder), "--output", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
  arguments = [*store, "--set", "name=a b", "--set", "test_spans=0", "--no-evaluate"]
  monkeypatch.setattr(command_line, "_distil", Distilling(tmp_path, None))
  assert run(tiny_log, *arguments) == 0
  for after_commit, next_span in ((False, 1), (True, 2)):
    monkeypatch.setattr(command_line, "_distil", Distilling(tmp_path, 1, error, after_commit=after_commit))
    with pytest.raises(type(error)) as caught:
      run(tiny_log, *arguments, "--replace")
    note = notes_of(caught.value)[-1]
    assert note == f"To go on: {shlex.join(['diet', 'run', '--config', tiny_log.config_path, *arguments])} " \
                   f"--replace --from-span {next_span}"
    going_on = Distilling(tmp_path, None)
    monkeypatch.setattr(command_line, "_distil", going_on)
    assert command_line.run(shlex.split(note)[5:]) == 0
    assert going_on.distilled == list(range(next_span, 3))


def test_figures_that_are_cut_are_gone_on_with_and_nothing_is_distilled_again(tiny_log, tmp_path, monkeypatch):
  def fail(*_):
    raise KeyboardInterrupt

  arguments = ["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), "--output", str(tmp_path / "out")]
  monkeypatch.setattr(command_line, "_evaluate", fail)
  distilling = Distilling(tmp_path, None)
  monkeypatch.setattr(command_line, "_distil", distilling)
  with pytest.raises(KeyboardInterrupt) as caught:
    command_line.run([*arguments, "--span", "auto", "--evaluate"])
  assert notes_of(caught.value) == [f"To go on: {shlex.join(['diet', 'run', *arguments])} --evaluate --span 0"]
  with pytest.raises(KeyboardInterrupt) as caught:
    command_line.run([*arguments, "--evaluate", "--span", "0"])
  assert distilling.distilled == [0]
  with pytest.raises(KeyboardInterrupt) as caught:
    command_line.report(arguments)
  assert notes_of(caught.value) == [f"To go on: {shlex.join(['diet', 'report', *arguments])}"]


def test_a_demo_that_is_cut_is_gone_on_with_as_a_run_of_its_folder(tmp_path, monkeypatch):
  small = SimulatedLogSettings(rows_per_span=50)
  monkeypatch.setattr(demo.prepare, "__defaults__", (small, demo.prepare.__defaults__[1]))
  output, error = str(tmp_path / "my demo"), RuntimeError("boom")
  monkeypatch.setattr(command_line, "_distil", Distilling(tmp_path, 2, error))
  asked = ["--output", output, "--runner", "local", "--json", str(tmp_path / "out.json"), "--set",
           "distill.outer_steps=3", "--beam-arg=--direct_num_workers=2"]
  with pytest.raises(RuntimeError) as caught:
    command_line.demo(asked)
  words = shlex.split(notes_of(caught.value)[-1])
  assert words[:5] == ["To", "go", "on:", "diet", "run"]
  calls = []
  monkeypatch.setattr(command_line, "_run", lambda *arguments: calls.append(arguments) or 0)
  assert command_line.demo(asked) == command_line.run(words[5:]) == 0
  demanded, resumed = calls
  assert demanded[:2] == resumed[:2]  # The same config and data folder.
  for name in ("runner", "json_path", "beam_pipeline_args", "evaluate", "span", "replace", "store_uri"):
    assert getattr(demanded[2], name) == getattr(resumed[2], name)


def test_a_demo_that_is_cut_before_its_log_is_written_begins_anew(tmp_path, monkeypatch):
  def fail(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(demo, "prepare", fail)
  with pytest.raises(KeyboardInterrupt) as caught:
    command_line.demo(["--output", str(tmp_path / "demo")])
  assert notes_of(caught.value) == [f"To go on: diet demo --output {tmp_path}/demo"]


def test_partitions_of_no_span_are_told(tmp_path, monkeypatch):
  said = []
  monkeypatch.setattr(command_line, "_say", said.append)
  for value in ("2024-01-30", "__HIVE_DEFAULT_PARTITION__"):
    (tmp_path / f"dt={value}").mkdir()
    (tmp_path / f"dt={value}" / "a.csv").write_text("click\n1\n")
  command_line._say_what_is_of_no_span(f"{tmp_path}/dt={{SPAN}}/*.csv")
  command_line._say_what_is_of_no_span(f"{tmp_path}/dt=*/*.csv")
  assert said == ["Left out, since a partition without a value is of no span: "
                  f"{tmp_path}/dt=__HIVE_DEFAULT_PARTITION__/a.csv (1 in all)."]

import pathlib

import pytest

from diet_tf.config.config import load_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_config_loads_and_its_header_says_how_to_use_it(path):
  config = load_config(str(path))
  assert config.name == path.stem
  header = path.read_text().split("\nname:")[0]
  assert f"diet run --config examples/{path.name} --data-dir" in header
  assert all(line.startswith("#") for line in header.splitlines())


def test_kuairand_reads_no_column_that_follows_the_click():
  config = load_config(str(ROOT / "examples" / "kuairand.yaml"))
  columns = {field.column for field in config.features.fields}
  assert len(columns) == len(config.features.fields) == 36
  assert not {column for column in columns if column in ("long_view", "play_time_ms", "profile_stay_time",
                                                         "comment_stay_time", "is_like", "is_follow", "is_comment",
                                                         "is_forward", "is_hate", "is_profile_enter", "is_click")}


def test_flights_reads_no_column_that_is_known_at_the_arrival_and_no_minute():
  config = load_config(str(ROOT / "examples" / "flights.yaml"))
  assert {field.column for field in config.features.fields} == {"route", "origin", "destination", "distance", "hour",
                                                                "weekday"}
  assert config.features.label.column == "late15"


@pytest.mark.parametrize("name, first, last, count", [
    ("kuairand", 20220425, 20220430, 6), ("movietweetings", 0, 35, 36), ("flights", 20010101, 20010630, 181)])
def test_the_spans_of_a_real_log(name, first, last, count):
  if not (DATA / name).is_dir():
    pytest.skip(f"the data of {name} is not there")
  from pipelines.data_folder import with_data_dir
  from tfx_components.log_gen import available_spans

  config = with_data_dir(load_config(str(ROOT / "examples" / f"{name}.yaml")), str(DATA / name))
  spans = available_spans(config.log)
  assert (spans[0], spans[-1], len(spans)) == (first, last, count)

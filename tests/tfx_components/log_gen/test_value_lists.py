"""Fields of several values: the same examples from lists of every format and from texts, and what breaks a row."""

import dataclasses
import datetime
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError, DataError
from diet_tf.log import encoding
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.row_layout import PADDING_ID, RowLayout
from diet_tf.log.settings import Join
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import reasons, value_lists

GENRES = Field("genres", "genres", hash_ids=50, max_values=3)
TAGS = Field("tags", "tags", vocabulary_ids=5, max_values=2, weights="scores")
YEARS = Field("years", "years", boundaries=(1990.0, 2000.0), max_values=4)
SPEC = FeatureSpec((Field("user", "user", hash_ids=20), GENRES, TAGS, YEARS), Label("click"), "t")
ROWS = [
    {"user": 1, "genres": ["Drama", "War", "Drama"], "tags": ["old", "long"], "scores": [0.5, 1.5],
     "years": [1985, 2001], "click": 1, "t": 10},
    {"user": 2, "genres": [], "tags": [], "scores": [], "years": [1995], "click": 0, "t": 20},
    {"user": 1, "genres": ["War", "Drama"], "tags": ["old"], "scores": [2.0], "years": [], "click": 0, "t": 30},
    {"user": 3, "genres": ["a", "b", "c", "d", "e"], "tags": ["old", "new", "old", "odd"],
     "scores": [0.25, 1.0, 0.5, 0.125], "years": [1980, 1981, 1982, 2005], "click": 1, "t": 40},
]


def as_texts(rows, separator="|"):
  """The rows with their lists as texts."""
  return [{name: separator.join(map(str, value)) if isinstance(value, list) else value for name, value in row.items()}
          for row in rows]


def parted(spec, separator="|"):
  return dataclasses.replace(spec, fields=tuple(
      dataclasses.replace(field, separator=separator) if field.is_multi_valued else field for field in spec.fields))


def write_lists(log, name, rows, fixed=False):
  """Lists as the format has them; in Parquet as large lists, or of a fixed size."""
  path = log.folder / name
  if name.endswith("parquet"):
    table = pa.Table.from_pylist(rows)
    for place, field in enumerate(table.schema):
      if pa.types.is_list(field.type):
        kind = pa.list_(field.type.value_type, 1) if fixed else pa.large_list(field.type.value_type)
        table = table.set_column(place, field.name, pa.array(table[field.name].to_pylist(), kind))
    pq.write_table(table, path)
  elif name.endswith("jsonl"):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  else:
    with tf.io.TFRecordWriter(str(path)) as writer:
      for row in rows:
        example = tf.train.Example()
        for key, value in row.items():
          values = value if isinstance(value, list) else [value]
          feature = example.features.feature[key]
          for one in values:
            if isinstance(one, str):
              feature.bytes_list.value.append(one.encode())
            else:
              getattr(feature, "float_list" if isinstance(one, float) else "int64_list").value.append(one)
        writer.write(example.SerializeToString())


def sets_of(log, spec=SPEC):
  """Per row and field the ids with their weights."""
  rows, layout = np.array(log.examples(spec)[0], np.int32), RowLayout.of(spec)
  return [[{int(number): round(float(weight), 5) for number, weight in zip(one[layout.ids_at(field)],
                                                                           layout.weights(one[None], field)[0])
            if number != PADDING_ID} for field in range(len(spec.fields))] for one in rows]


def test_sets_by_hand(log):
  write_lists(log, "log-1.jsonl", ROWS)
  summary = log.generate(log.settings("log-{SPAN}.jsonl"), spec=SPEC)
  # "old" is in three rows; "long", "new" and "odd" in one each, and the first of them by name has the last place.
  assert log.vocabularies() == {"tags": ["old", "long", "new"]}
  genre = dict(zip("Drama War a b c d e".split(), encoding.encode(Field("g", "g", hash_ids=50),
                                                                   "Drama War a b c d e".split()).tolist()))
  found = sets_of(log)
  assert found[0][1] == found[2][1] == {genre["Drama"]: 0.5, genre["War"]: 0.5}
  assert [row[2] for row in found[:3]] == [{2: 0.25, 3: 0.75}, {0: 1.0}, {2: 1.0}]
  assert [row[3] for row in found] == [{1: 0.5, 3: 0.5}, {2: 1.0}, {0: 1.0}, {1: 0.5, 3: 0.5}]
  # Three of the five genres are kept; of the tags the two heaviest, "new" with 1 and "old" with .75, without "odd".
  assert len(found[3][1]) == 3 and set(found[3][1]) < {genre[name] for name in "abcde"}
  assert found[3][2] == {4: round(1 / 1.75, 5), 2: round(0.75 / 1.75, 5)}
  assert summary.rows.remarks[-2:] == (
      "Field 'genres': 1 rows have more than the 3 values that are kept (features.fields[].max_values).",
      "Field 'tags': 1 rows have more than the 2 values that are kept (features.fields[].max_values).")
  texts = [[row["genres"] for row in ROWS], [row["years"] for row in ROWS]]
  for field, values in zip((GENRES, YEARS), texts, strict=True):
    ids, weights = encoding.encode_sets(field, values)
    number = SPEC.names.index(field.name)
    assert [{int(i): round(float(w), 5) for i, w in zip(*row) if i >= 0} for row in zip(ids, weights)] == [
        row[number] for row in found]
  ids, weights = encoding.encode_sets(TAGS, [row["tags"] for row in ROWS], log.vocabularies()["tags"],
                                      [row["scores"] for row in ROWS])
  assert [{int(i): round(float(w), 5) for i, w in zip(*row) if i >= 0} for row in zip(ids, weights)] == [
      row[2] for row in found]


def test_every_format_gives_the_same_bytes(log):
  contents = []
  for name in ("parquet", "jsonl", "tfrecord"):
    write_lists(log, f"log-1.{name}", ROWS)
    log.generate(log.settings(f"log-{{SPAN}}.{name}"), spec=SPEC)
    contents.append(log.contents())
  # One line that Arrow does not read, and the block is read line by line.
  path = log.folder / "log-2.jsonl"
  path.write_text((log.folder / "log-1.jsonl").read_text() + '{"user": }\n')
  log.generate(log.settings("log-{SPAN}.jsonl", max_quarantine_share=0.5), spec=SPEC, span=2)
  contents.append(log.contents())
  assert all(content == contents[0] for content in contents[1:])
  assert sets_of(log)[0][2] == {2: 0.25, 3: 0.75}


def test_order_does_not_matter(log):
  write_lists(log, "log-1.jsonl", ROWS)
  log.generate(log.settings("log-{SPAN}.jsonl"), spec=SPEC)
  expected = sets_of(log)
  turned = [{name: value[::-1] if isinstance(value, list) else value for name, value in row.items()} for row in ROWS]
  write_lists(log, "log-1.jsonl", turned[::-1])
  log.generate(log.settings("log-{SPAN}.jsonl"), spec=SPEC)
  assert sets_of(log) == expected


def test_texts_are_parted(log):
  write_lists(log, "log-1.jsonl", ROWS)
  log.generate(log.settings("log-{SPAN}.jsonl"), spec=SPEC)
  expected = sets_of(log)
  texts = as_texts(ROWS)
  texts[0]["genres"], texts[0]["scores"] = " Drama |War||NA", "0.5|1.5"
  log.write("log-1.csv", texts)
  log.generate(spec=parted(SPEC))
  assert sets_of(log, parted(SPEC)) == expected
  log.write("log-1.parquet", texts)
  log.generate(log.settings("log-{SPAN}.parquet"), spec=parted(SPEC))
  assert sets_of(log, parted(SPEC)) == expected
  assert encoding.encode_sets(parted(SPEC).fields[1], ["Drama| War", None])[0].tolist()[1] == [0, -1, -1]


@pytest.mark.parametrize("limit, way", [(1 << 26, "broadcast"), (0, "keyed")])
def test_sets_come_from_side_tables(log, limit, way):
  films = [{"film": number, "genres": row["genres"], "tags": row["tags"], "scores": row["scores"],
            "years": row["years"]} for number, row in enumerate(ROWS)]
  write_lists(log, "films.jsonl", films)
  log.write("log-1.csv", [{"user": row["user"], "film": number, "click": row["click"], "t": row["t"]}
                          for number, row in enumerate(ROWS)] + [{"user": 4, "film": 9, "click": 0, "t": 50}])
  settings = log.settings(joins=(Join(str(log.folder / "films.jsonl"), on="film"),), broadcast_limit_bytes=limit)
  summary = log.generate(settings, spec=SPEC)
  assert summary.joins[0]["way"] == way
  found = sets_of(log)
  assert [row[2] for row in found] == [{2: 0.25, 3: 0.75}, {0: 1.0}, {2: 1.0}, found[3][2], {0: 1.0}]
  assert len(found[3][2]) == 2 and [row[1] for row in found][4] == {0: 1.0}


BROKEN = [
    ({"scores": [0.5]}, f"column 'scores' of field 'tags' {reasons.NOT_AS_MANY_WEIGHTS}"),
    ({"scores": [0.5, None]}, f"column 'scores' of field 'tags' {reasons.NOT_AS_MANY_WEIGHTS}"),
    ({"scores": [0.5, -1]}, f"column 'scores' of field 'tags' {reasons.NOT_A_WEIGHT}"),
    ({"scores": [0.5, "-nan"]}, f"column 'scores' of field 'tags' {reasons.NOT_A_WEIGHT}"),
    ({"scores": [0.5, "much"]}, f"column 'scores' of field 'tags' {reasons.NOT_A_NUMBER}"),
    ({"years": [1990, "old"]}, f"column 'years' of field 'years' {reasons.NOT_A_NUMBER}"),
    ({"genres": [["Drama"]]}, f"column 'genres' {reasons.LIST}"),
    ({"genres": [{"id": 1}]}, f"column 'genres' {reasons.OBJECT}"),
]


def test_what_breaks_a_row_sets_it_aside(log):
  write_lists(log, "log-1.jsonl", [*({**ROWS[0], **change, "t": 5} for change, _ in BROKEN), *ROWS])
  log.generate(log.settings("log-{SPAN}.jsonl", max_quarantine_share=0.7), spec=SPEC)
  assert [row["reason"] for row in log.quarantined()] == [reason for _, reason in BROKEN]
  assert sets_of(log)[0][2] == {2: 0.25, 3: 0.75} and len(sets_of(log)) == 4


def test_a_row_whose_weights_are_all_nothing_is_missing(log):
  write_lists(log, "log-1.jsonl", [{**ROWS[0], "scores": [0, 0], "t": 5}, *ROWS])
  log.generate(log.settings("log-{SPAN}.jsonl"), spec=SPEC)
  assert sets_of(log)[0][2] == {0: 1.0} and sets_of(log)[1][2] == {2: 0.25, 3: 0.75}


def test_what_has_no_lists_is_refused_with_the_remedy(log):
  log.write("log-1.csv", as_texts(ROWS))
  with pytest.raises(DataError, match="CSV has texts and no lists.*column 'genres'.*separator"):
    log.generate(spec=SPEC)
  with pytest.raises(ConfigError, match="'genres'.*encode_sets"):
    encoding.encode(GENRES, ["Drama"])
  with pytest.raises(ConfigError, match="'tags'.*and no weights"):
    encoding.encode_sets(TAGS, [["old"]])
  with pytest.raises(DataError, match="'tags'.*a weight that is a number"):
    encoding.encode_sets(TAGS, [["old"]], ["old"], [[float("inf")]])


def test_values_and_weights_come_from_one_place(log):
  log.write("log-1.csv", [{"user": 1, "film": 1, "scores": 1, "click": 1, "t": 1}])
  write_lists(log, "films.jsonl", [{"film": 1, "genres": ["a"], "tags": ["b"], "years": [1]}])
  with pytest.raises(DataError, match="'tags'.*come from one place.*'tags' in .*films.jsonl, and 'scores' elsewhere"):
    log.generate(log.settings(joins=(Join(str(log.folder / "films.jsonl"), on="film"),)), spec=SPEC)


def test_a_column_of_lists_shows_its_values(log):
  column = value_lists.from_arrow(pa.array([["a", "b"], [], None, ["é"]]))
  assert column.texts.tolist() == ['["a","b"]', "", "", '["é"]'] and column.lists.lengths.tolist() == [2, 0, 0, 1]
  single = value_lists.from_arrow(pa.array([1.0, None, 2.5]))
  assert single.texts.tolist() == ['["1"]', "", '["2.5"]']
  fixed = value_lists.from_arrow(pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)))
  assert fixed.texts.tolist() == ['["1","2"]', "", '["3","4"]']
  taken = columns_lib.Lists.of_rows(fixed.lists, np.array([2, 2, 1]))
  assert (taken.lengths.tolist(), taken.elements.row_texts().tolist()) == ([2, 2, 0], ["3", "4", "3", "4"])


def test_of_two_columns_of_lists_the_first_that_has_values_holds():
  one, other = (value_lists.from_arrow(pa.array(lists)) for lists in ([["a"], [], []], [["b"], ["c", "d"], []]))
  both = columns_lib.first_of(one, other).filled("e")
  lists = both.lists.of_rows(both.codes)
  assert (lists.lengths.tolist(), lists.elements.row_texts().tolist()) == ([1, 2, 1], ["a", "c", "d", "e"])
  assert both.row_texts().tolist() == ['["a"]', '["c","d"]', '["e"]']


def test_a_number_that_is_none_is_no_value_of_a_bucketed_field():
  column = value_lists.from_objects([["NAN", 1995], ["-nan"], [2001]])
  sets = value_lists.field_sets(YEARS, column, None, None, (frozenset(), frozenset()), ("years", None))
  assert sets.values.to_pylist() == [[2], [], [3]] and not sets.broken


def test_a_column_of_lists_is_not_read_as_texts_by_another(log):
  spec = dataclasses.replace(SPEC, fields=(*SPEC.fields, Field("genre", "genres", hash_ids=50)))
  with pytest.raises(ConfigError, match="field 'genres'.*field 'genre' does not"):
    log.generate(spec=spec)


@pytest.mark.parametrize(("values", "kind", "texts"), [
    ([Decimal("1.50"), Decimal("2"), Decimal("3.25")], pa.decimal128(5, 2), ["1.5", "2", "3.25"]),
    ([datetime.date(2024, 1, day) for day in (29, 30, 31)], pa.date32(), ["2024-01-29", "2024-01-30", "2024-01-31"]),
    ([0.1, 0.2, 0.3], pa.float32(), ["0.1", "0.2", "0.3"])])
def test_lists_of_a_fixed_size_are_those_of_any_size(values, kind, texts):
  one, two, three = values
  for listed in (pa.list_(kind), pa.list_(kind, 2)):
    column = value_lists.from_arrow(pa.chunked_array([pa.array([[one, two], None], listed),
                                                      pa.array([[three, None]], listed)]))
    assert column.lists.lengths.tolist() == [2, 0, 2]
    assert column.lists.elements.row_texts().tolist() == [*texts, ""]


@pytest.mark.parametrize("separator", ["\u00e9", "e\u0301"])
def test_a_separator_is_met_in_either_normal_form(log, separator):
  spec = parted(dataclasses.replace(SPEC, fields=(GENRES,)), separator)
  (log.folder / "log-1.csv").write_text("genres,click,t\nDrama\u00e9War,1,10\nDramae\u0301War,0,20\n", encoding="utf-8")
  log.generate(spec=spec)
  both = encoding.encode_sets(GENRES, [["Drama", "War"]])[0][0, :2].tolist()
  assert [sorted(row[0]) for row in sets_of(log, spec)] == [both, both]

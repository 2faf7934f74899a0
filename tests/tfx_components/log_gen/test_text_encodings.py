import gzip

import pytest

from diet_tf.errors import DataError
from diet_tf.log.settings import LogSettings
from tfx_components.log_gen import plan, sources

# Of two bytes each in shift_jis, whose second one is that of a backslash and of a bar.
JAPANESE = "\u8868,\u30dd"


def texts_of(settings, path):
  return [block.columns["name"].row_texts().tolist() for piece in plan.log_pieces(settings, [str(path)], None)
          for block in sources.read_blocks(piece, ["name"])]


@pytest.mark.parametrize("piece_bytes", [5, 1 << 20])
@pytest.mark.parametrize(("encoding", "name"), [
    ("latin-1", "caf\u00e9"), ("cp1252", "\u20ac"), ("shift_jis", JAPANESE), ("gb18030", "\u9f98"),
    ("cp037", "caf\u00e9"),
    ("utf-16", "\u010a\u0a0d"), ("utf-16-le", "caf\u00e9"), ("utf-32", "caf\u00e9"), ("utf-8-sig", "caf\u00e9"),
    ("iso2022_jp", "\u8868")])
def test_a_file_is_read_in_its_encoding_wherever_it_is_cut(tmp_path, encoding, name, piece_bytes):
  csv = f'id;name\n1;{name}\n2;"a;b"\n3;{name}'
  (tmp_path / "a.csv").write_bytes(csv.encode(encoding))
  (tmp_path / "a.csv.gz").write_bytes(gzip.compress(csv.encode(encoding)))
  for path in (tmp_path / "a.csv", tmp_path / "a.csv.gz"):
    for newlines in (False, True):
      settings = LogSettings(str(path), span_column="t", span_seconds=1, delimiter=";", encoding=encoding,
                             newlines_in_values=newlines, piece_bytes=piece_bytes)
      assert sum(texts_of(settings, path), []) == [name, "a;b", name]
  (tmp_path / "a.jsonl").write_bytes(f'{{"name":"{name}"}}\n{{"name":"x"}}\n'.encode(encoding))
  settings = LogSettings("log", span_column="t", span_seconds=1, encoding=encoding, piece_bytes=piece_bytes)
  assert sum(texts_of(settings, tmp_path / "a.jsonl"), []) == [name, "x"]


def test_bytes_that_are_not_of_the_encoding_are_found_out(tmp_path):
  # 0x81 is no character of cp1252.
  (tmp_path / "a.csv").write_bytes(b"id,name\n1,\x81\n2,\x80\n")
  settings = LogSettings("log", span_column="t", span_seconds=1, encoding="cp1252")
  block, = (block for piece in plan.log_pieces(settings, [str(tmp_path / "a.csv")], None)
            for block in sources.read_blocks(piece))
  flaws = block.columns["name"].flaws[block.columns["name"].codes]
  assert (flaws != 0).tolist() == [True, False] and block.columns["name"].row_texts()[1] == "\u20ac"


def test_a_file_in_utf_16_is_named_and_a_cut_one_too(tmp_path):
  (tmp_path / "a.csv").write_bytes("id,name\n1,x\n".encode("utf-16"))
  with pytest.raises(DataError, match="UTF-16.*set log.encoding .* to utf-16"):
    texts_of(LogSettings("log", span_column="t", span_seconds=1), tmp_path / "a.csv")
  (tmp_path / "a.csv").write_bytes("id,name\n1,x\n".encode("utf-16")[:-1])
  with pytest.raises(DataError, match="complete UTF-16 file"):
    texts_of(LogSettings("log", span_column="t", span_seconds=1, encoding="utf-16"), tmp_path / "a.csv")

"""Files of a span that hold the same rows: one that was delivered twice, maybe compressed or in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diet_tf.errors import DataError
from tfx_components.log_gen.counts import Content
from tfx_components.log_gen.sources import Piece

# Smaller files may be alike by chance, where a span comes in very many of them.
LEAST_ROWS = 5


def check_copies(pieces: Sequence[Piece], contents: Mapping[int, Content], subject: str) -> None:
  """Raises `DataError` where two files of a span have the same rows, whatever their order.

  Args:
    pieces: the pieces of the span's files.
    contents: per number of a piece, its sound rows that belong to the span.
    subject: name of the span in messages.
  """
  by_file: dict[str, Content] = {}
  for piece in pieces:
    by_file[piece.path] = by_file.get(piece.path, Content()) + contents.get(piece.index, Content())
  first_with: dict[Content, str] = {}
  for path, content in sorted(by_file.items()):
    first = first_with.setdefault(content, path)
    if first != path and content.num_rows >= LEAST_ROWS:
      raise DataError(subject, rule="no two of its files have the same rows, unless duplicates are dropped "
                      "(log.drop_duplicates, log.unique).",
                      received=f"{first} and {path}: the same {content.num_rows:,} rows.",
                      remedy="remove the file that was delivered twice; or set log.drop_duplicates: true, or name the "
                      "column that tells rows apart in log.unique. Rows that did happen twice belong into one file.")

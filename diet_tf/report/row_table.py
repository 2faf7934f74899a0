"""The table of a span's rows: how many were read, kept, set aside and dropped, why, and their click rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diet_tf.log.row_counts import RowCounts, listed_reasons, rate_text, total

_MOST_REASONS = 10


def row_lines(counts: Mapping[int, RowCounts]) -> list[dict[str, Any]]:
  """What the table has of each span, in the order of spans: numbers and click rates as text, and the reasons."""
  return [{
      "span": span, "read": f"{rows.read.num_rows:,}", "kept": f"{rows.kept.num_rows:,}",
      "set_aside": f"{total(rows.quarantined).num_rows:,}", "dropped": f"{total(rows.dropped).num_rows:,}",
      "look_alike": f"{rows.duplicates.num_rows:,}", "rate_before": rate_text(rows.read),
      "rate_after": rate_text(rows.kept),
      "why": "; ".join(f"{kind}: {listed_reasons(reasons, _MOST_REASONS, rates=True)}"
                       for kind, reasons in (("set aside", rows.quarantined), ("dropped", rows.dropped)) if reasons),
      "remarks": " ".join(rows.remarks)
  } for span, rows in sorted(counts.items())]

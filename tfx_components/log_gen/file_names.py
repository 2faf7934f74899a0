"""Names of what LogGen writes, for readers that do not import TFX."""

from __future__ import annotations

SPLIT_FOLDER = "Split-train"
# In a commit, the part with the vocabularies has this name too.
VOCABULARIES_NAME = "vocabularies.json"
QUARANTINE_NAME = "quarantine.jsonl"
# Written last: with it, the folder is whole.
SUMMARY_NAME = "log_summary.json"

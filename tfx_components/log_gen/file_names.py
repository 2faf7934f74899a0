"""Names of what LogGen writes, for readers that do not import TFX."""

from __future__ import annotations

# All rows of a span are one split; TFX names its folder so.
SPLIT = "train"
SPLIT_FOLDER = f"Split-{SPLIT}"
# In a commit, the part with the vocabularies has this name too.
VOCABULARIES_NAME = "vocabularies.json"
QUARANTINE_NAME = "quarantine.jsonl"
# Written last: with it, the folder is whole.
SUMMARY_NAME = "log_summary.json"

"""The README of an exported memory: what its files hold, and how to train on them."""

from __future__ import annotations

from diet_tf.memory.memory import Memory
from diet_tf.printable import markdown_text

DESCRIPTION_NAME = "export.json"
README_NAME = "README.md"

_COMMON_COLUMNS = """- `position`: the place in the order of training
- `slot_id`: of the slot; it keeps it for life
- `label`: soft, in [0, 1]
- `sample_weight`: of the slot in the loss
- `born_span`, `updated_span`: the spans that added the slot, and changed it last
- `influence`: when it was last addressed"""

_PARQUET = f"""`slots.parquet` has one row per slot, in the order of training:

{_COMMON_COLUMNS}
- `<field>/ids` and `<field>/weights`: lists of equal length, per field"""

_CSV = f"""`slots.csv` has one line per slot, in the order of training:

{_COMMON_COLUMNS}

`ids.csv` has one line per slot, field and id: `slot_id`, `field`, `id`, `weight`. Join the two on `slot_id`. A field
whose name a spreadsheet would take for a formula has an apostrophe in front of it."""

_NUMPY = """`slots.npz` is read by `numpy.load`, without pickle. Slots are in the order of training:

- `ids` and `weights`: `[num_slots, num_fields, K]`; padding has id 0 and weight 0
- `labels`, `sample_weights`, `slot_ids`, `born_spans`, `updated_spans`, `influences`: `[num_slots]`
- `fields` and `num_ids`: `[num_fields]`, the fields' names and the sizes of their id spaces"""

_SNAPSHOT = """`snapshot` was saved by `tf.data.Dataset.save`, in batches of the recipe, in the order of training:

    dataset = tf.data.Dataset.load("snapshot", compression="GZIP")
    model.fit(dataset, shuffle=False, epochs=...)

Its elements are `(features, label, sample_weight)`; features are, per field, `<field>` with ids `[batch, K]` and
`<field>/weights` with their weights, padded with id 0 and weight 0."""

_TORCH = """`memory.npz` has the layout of TorchRec's KeyedJaggedTensor; `numpy.load` reads it, without pickle:

- `keys` and `num_ids`: `[num_keys]`, the fields' names and the rows that their embedding tables need
- `values` and `weights`: the ids and their weights, of the first key for all slots, then of the second, ...
- `lengths`: `[num_keys * num_slots]`, how many ids each slot has, in the same order
- `labels` and `sample_weights`: `[num_slots]`

`load_memory.py` cuts it into batches. It needs PyTorch and NumPy alone:

    import torch, load_memory
    tables = {key: torch.nn.EmbeddingBag(rows, 16, mode="sum") for key, rows in load_memory.NUM_IDS.items()}
    for batch in load_memory.batches():
      pooled = [tables[key](ids, offsets, per_sample_weights=weights)
                for key, (ids, offsets, weights) in load_memory.bags(batch).items()]

With TorchRec, `load_memory.keyed_jagged_tensor(batch)` is what its embedding bag collections take."""

_CONTENTS = {"parquet": _PARQUET, "csv": _CSV, "numpy": _NUMPY, "snapshot": _SNAPSHOT, "torch": _TORCH}


def readme(memory: Memory, export_format: str) -> str:
  """The text for an export in one of the formats of `diet_tf.memory.export`."""
  recipe, manifest, claim = memory.recipe, memory.manifest, memory.manifest.claim()
  rates = ", ".join(f"{group} {rate:.3g}" for group, rate in recipe.learning_rates.items())
  return f"""# A memory of {len(memory):,} slots

Exported by DIET-TF from the memory `{manifest.digest[:12]}` of span {manifest.span}, which stands for
{manifest.num_examples_seen:,} impressions. A slot has, per field, weighted ids whose weights sum to 1.

{_CONTENTS[export_format]}

Ids are local to their field; 0 is a missing value. `{DESCRIPTION_NAME}` says under `feature_spec` how a value of the
log becomes an id, and under `recipe` how to train:

- {recipe.epochs} epochs in batches of {recipe.batch_size}, in the stored order, never shuffled
- Adam (beta_1 {recipe.beta_1}, beta_2 {recipe.beta_2}, epsilon {recipe.epsilon}) with a learning rate for each group of
  variables ({rates}), times `step_multipliers` step by step; the last of these holds on
- the cross-entropy with the soft label, times the sample weight, averaged over the batch

Slots blend rows of people. Users: {markdown_text(claim.users_text())}. Ids: {markdown_text(claim.hashing_text())}.
Neither makes the export anonymous: treat it as the log.
"""

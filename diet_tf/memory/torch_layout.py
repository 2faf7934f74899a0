"""A memory in the layout of TorchRec's `KeyedJaggedTensor`, as NumPy arrays; neither torch nor TorchRec is needed here.

A `KeyedJaggedTensor` of F keys over N slots holds the ids of all slots for the first key, then those for the second,
and so on; `lengths` says in the same order how many ids each slot has for each key.
"""

from __future__ import annotations

import numpy as np

from diet_tf.memory.memory import Memory

MODULE_NAME = "load_memory.py"
ARRAYS_NAME = "memory.npz"

# Stands beside the arrays, for programs that have neither TensorFlow nor this package.
MODULE = '''"""Reads the memory in this folder with PyTorch and NumPy: batches in the stored order, and the recipe.

  import load_memory
  for epoch in range(load_memory.RECIPE["epochs"]):
    for batch in load_memory.batches():
      ...

A batch is a dict of tensors: `values` (int64), `weights` (float32) and `lengths` (int64) are those of a TorchRec
KeyedJaggedTensor with the keys KEYS; `labels` are soft, in [0, 1]; `sample_weights` multiply the loss of each slot.
"""

import json
import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).resolve().parent
ARRAYS = dict(np.load(FOLDER / "memory.npz"))
RECIPE = json.loads((FOLDER / "export.json").read_text())["recipe"]
KEYS = ARRAYS["keys"].tolist()
NUM_IDS = dict(zip(KEYS, ARRAYS["num_ids"].tolist()))  # The rows that each embedding table needs.


def batches(batch_size=None):
  """Yields the slots in their order; do not shuffle them, they were learned in it."""
  batch_size = batch_size or RECIPE["batch_size"]
  lengths = ARRAYS["lengths"].reshape(len(KEYS), -1)  # [keys, slots]
  # Where each slot's ids begin, and, last, where those of the key end: [keys, slots + 1].
  ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
  starts = np.concatenate([ends[:, :1] - lengths[:, :1], ends], axis=1)
  for first in range(0, lengths.shape[1], batch_size):
    last = min(first + batch_size, lengths.shape[1])
    places = np.concatenate([np.arange(row[first], row[last]) for row in starts])
    arrays = {"values": ARRAYS["values"][places], "weights": ARRAYS["weights"][places],
              "lengths": lengths[:, first:last].ravel(), "labels": ARRAYS["labels"][first:last],
              "sample_weights": ARRAYS["sample_weights"][first:last]}
    yield {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def bags(batch):
  """Per key (ids, offsets, weights): the input, offsets and per_sample_weights of torch.nn.EmbeddingBag(mode="sum")."""
  lengths = batch["lengths"].reshape(len(KEYS), -1)
  found, start = {}, 0
  for key, row in zip(KEYS, lengths):
    stop = start + int(row.sum())
    found[key] = (batch["values"][start:stop], row.cumsum(0) - row, batch["weights"][start:stop])
    start = stop
  return found


def keyed_jagged_tensor(batch):
  """The batch as TorchRec takes it."""
  from torchrec import KeyedJaggedTensor
  return KeyedJaggedTensor(keys=KEYS, values=batch["values"], weights=batch["weights"], lengths=batch["lengths"])
'''


def keyed_jagged_arrays(memory: Memory) -> dict[str, np.ndarray]:
  """The arrays of the file that `MODULE` reads.

  Returns:
    `keys` `[num_fields]` text; `num_ids` `[num_fields]` int64; `values` int64 and `weights` float32, of all ids of
    positive weight, by key and then by slot; `lengths` `[num_fields * num_slots]` int64 in the same order; `labels` and
    `sample_weights` `[num_slots]` float32.
  """
  slots = memory.slots
  ids, weights = slots.ids.transpose(1, 0, 2), slots.weights.transpose(1, 0, 2)  # [F, N, K]
  used = weights > 0
  return {"keys": np.array(memory.spec.names), "num_ids": np.array(memory.spec.num_ids, np.int64),
          "values": ids[used].astype(np.int64), "weights": weights[used],
          "lengths": used.sum(axis=2, dtype=np.int64).ravel(), "labels": slots.labels,
          "sample_weights": slots.sample_weights}

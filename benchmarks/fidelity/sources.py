"""What a member of the panel is trained on, by name: the log, the memory and what it is compared with.

- The log, the memory and other memories have plain names, `OURS`; an ablation has its variant's name.
- A selection of rows is called `name/labels` with as many records as the memory and its epochs free, and
  `name/labels/equal_cost` with as many examples processed as the memory's trainings process.
- A rival is what engineers do who have no memory: one pass over a sub-sample of the log, `sample/KIND/1_N`; or a search
  that gives up candidates on its way, `halving/1_N` and `early_stopping/1_N`, named by the share that it begins with.
  Searches train nothing of their own: `benchmarks.fidelity.searches` makes them of the sub-samples' trainings.
"""

from __future__ import annotations

LOG, MEMORY, START, STATIC, FROM_SCRATCH = "log", "memory", "start", "static", "from_scratch"
# The stream without any refinement: squashed slots alone. `START` is the last stage's, after those before were refined.
UNREFINED = "unrefined"
# The memory by the rates of its recipe, of which no member chooses a factor.
ONE_RECIPE = "one_recipe"
# Sources that are neither selections nor rivals, in the order of tables.
OURS = (LOG, MEMORY, ONE_RECIPE, START, UNREFINED, STATIC, FROM_SCRATCH)
EQUAL_COST = "equal_cost"

SAMPLE, HALVING, EARLY_STOPPING = "sample", "halving", "early_stopping"
# Kinds of sub-samples: of rows, of users with all their rows, the newest rows, and the oldest, which a pass that is
# stopped early has read.
UNIFORM, USERS, NEWEST, OLDEST = "uniform", "users", "newest", "oldest"
# A share is one of so many.
SHARES = (2, 5, 10, 20, 50)
# A pass is not judged by its first fiftieth.
OLDEST_SHARES = SHARES[:-1]


def source_name(kind: str, denominator: int) -> str:
  """The name of a source that is a share of the log, one of `denominator`: `sample/uniform/1_5`, `halving/1_50`."""
  return f"{kind}/1_{denominator}"


def sample_source(kind: str, denominator: int) -> str:
  """The name of a sub-sample: its kind, one of `UNIFORM`, `USERS`, `NEWEST` and `OLDEST`, and its share."""
  return source_name(f"{SAMPLE}/{kind}", denominator)


# All sub-samples, in the order of tables.
SAMPLES = (*(sample_source(kind, share) for kind in (UNIFORM, USERS, NEWEST) for share in SHARES),
           *(sample_source(OLDEST, share) for share in OLDEST_SHARES))
# Searches by name, with the sub-samples that they go through in turn; an early stopping ends with the log itself.
HALVINGS = {source_name(HALVING, first): tuple(
    sample_source(UNIFORM, share) for share in reversed(SHARES) if share <= first) for first in (50, 10)}
EARLY_STOPPINGS = {source_name(EARLY_STOPPING, first): (
    *(sample_source(OLDEST, share) for share in reversed(OLDEST_SHARES) if share <= first), LOG) for first in (20, 5)}
# All rivals, in the order of tables.
RIVALS = (*SAMPLES, *HALVINGS, *EARLY_STOPPINGS)


def is_rival(source: str) -> bool:
  """Whether a source is a sub-sample of the log or a search, and neither ours nor a selection."""
  return source.partition("/")[0] in (SAMPLE, HALVING, EARLY_STOPPING)


def parse_sample(source: str) -> tuple[str, int]:
  """The kind of a sub-sample, and of how many parts of the log it is one: `("uniform", 5)` of `sample/uniform/1_5`."""
  _, kind, share = source.split("/")
  return kind, int(share.removeprefix("1_"))

"""Baselines of the fidelity benchmark: which real rows of the log to keep where a memory would keep slots.

Every selection answers one question, which `num_rows` rows of the log a model should be trained on, and `select` asks
it by name. Ties are broken and noise is dealt out by example id, so that the rows' order within the log decides nothing
except for `recent` and `gradmatch`, to which time itself matters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.optimize import nnls

from diet_tf.errors import ConfigError, DataError, NumericsError
from diet_tf.log.encoded_rows import EncodedRows

HALF_LIFE_SPANS = 2.0
# A finer field would cut the log into cells of about one row, whose quotas round to a plain random draw.
MAX_STRATA = 256
GRADMATCH_RIDGE = 0.5
# Adam divides a gradient by its own running size. A batch of rows of weight near 0 thus still moves the parameters, in
# a direction that is mostly noise; and one row of a huge weight would outlive its batch in those running sizes.
WEIGHT_BOUNDS = (0.05, 20.0)


@dataclasses.dataclass(frozen=True)
class TeacherView:
  """What trained models say of each row of the log.

  Attributes:
    logits: `[num_rows]` float32, logits of the teacher after the whole log.
    early_logits: `[num_models, num_rows]` float32, logits of models early in their training, one per initialisation.
    early_hidden: `[num_models, num_rows, hidden]` float32, inputs of those models' last layer.
    hidden: `[num_rows, hidden]` float32, inputs of the teacher's last layer.
  """

  logits: np.ndarray
  early_logits: np.ndarray
  early_hidden: np.ndarray
  hidden: np.ndarray


@dataclasses.dataclass(frozen=True)
class Selection:
  """The rows that a model is to be trained on.

  Attributes:
    rows: `[num_selected]` int64, positions in the log, in the order of training.
    weights: `[num_selected]` float32, sample weights with mean 1.
  """

  rows: np.ndarray
  weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Request:
  """What every selection is given, whether or not it needs all of it."""

  log: EncodedRows
  teacher: TeacherView
  num_rows: int
  random: np.random.Generator

  def smallest(self, costs: np.ndarray) -> np.ndarray:
    """`[num_rows]` positions of the smallest `costs` (`[num log rows]`); of equal ones, those of lower example id."""
    return np.lexsort((self.log.example_ids, costs))[:self.num_rows]

  def noise(self) -> np.ndarray:
    """`[num log rows]` float64 exponential noise, dealt out in the order of example ids."""
    noise = np.empty(len(self.log), np.float64)
    noise[np.argsort(self.log.example_ids)] = self.random.standard_exponential(len(self.log))
    return noise


def random_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions drawn uniformly without replacement."""
  return request.smallest(request.noise())


def recent_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions of the newest rows: the sliding window."""
  return np.arange(len(request.log) - request.num_rows, len(request.log))


def reservoir_decay_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions drawn without replacement by weights `2 ** (-age / HALF_LIFE_SPANS)`.

  The bias function `exp(-lambda age)` of Aggarwal, "On biased reservoir sampling in the presence of stream evolution"
  (VLDB 2006), with the age counted in spans back from the newest. That paper keeps a reservoir in one pass;
  we see the whole log and draw in one go by the keys `u ** (1 / weight)` of Efraimidis and Spirakis, "Weighted random
  sampling with a reservoir" (2006), whose largest are kept.
  """
  ages = request.log.spans.max() - request.log.spans
  # log(-log(key)): the weight of an old span would underflow to 0, its logarithm does not.
  return request.smallest(np.log(request.noise()) + np.log(2.0) * ages / HALF_LIFE_SPANS)


def stratified_label_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions drawn with quotas proportional to the label's classes within each span.

  Proportional allocation (Cochran, "Sampling Techniques", 1977, chapter 5) over the cells (span, label).
  """
  return _stratified(request, 2 * request.log.spans + (request.log.labels > 0.5))


def stratified_field_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions drawn with quotas proportional to the ids of one field.

  Proportional allocation (Cochran, 1977, chapter 5) over the ids of the field of largest entropy among those in which
  at most `MAX_STRATA` ids occur; of equal entropies, the first field. Where more occur in every field, the one with the
  fewest is taken.
  """
  # Fields of few ids come before the others, by falling entropy; the others by rising number of ids.
  ranks = []
  for column in request.log.ids.T:
    _, counts = np.unique(column, return_counts=True)
    shares = counts / len(column)
    few = len(counts) <= MAX_STRATA
    ranks.append((0, float(np.dot(shares, np.log(shares)))) if few else (1, float(len(counts))))
  return _stratified(request, request.log.ids[:, ranks.index(min(ranks))])


def _stratified(request: Request, cells: np.ndarray) -> np.ndarray:
  """Positions drawn uniformly within each cell (`[num log rows]` int), as many as its quota."""
  _, cells, sizes = np.unique(cells, return_inverse=True, return_counts=True)
  quotas = proportional_quotas(sizes, request.num_rows)
  order = np.lexsort((request.noise(), cells))
  rank = np.arange(len(cells)) - np.searchsorted(cells[order], cells[order])
  return order[rank < quotas[cells[order]]]


def proportional_quotas(sizes: np.ndarray, total: int) -> np.ndarray:
  """`[num_cells]` int quotas that sum to `total` and are proportional to `sizes` up to rounding.

  Largest remainders (Hamilton's method): what rounding down leaves over goes to the cells that lost most by it; of
  equal losses, to the first. No quota exceeds its cell while `total` does not exceed the sum of sizes.

  Args:
    sizes: `[num_cells]` int, the positive numbers of rows in the cells.
    total: number of rows to share out.
  """
  # Whole numbers throughout: in floating point an exact share could be rounded down and win a row by it.
  quotas, remainders = np.divmod(sizes * total, sizes.sum())
  quotas[np.argsort(-remainders, kind="stable")[:total - quotas.sum()]] += 1
  return quotas


def el2n_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions of the largest error early in training.

  EL2N, `E |p - y|` over initialisations, of Paul, Ganguli and Dziugaite, "Deep learning on a data diet" (NeurIPS 2021,
  section 2), whose norm over the two classes is ours times the square root of 2.
  """
  return request.smallest(-_early_errors(request).mean(axis=0))


def grand_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions of the largest loss gradient early in training.

  GraNd, `E |g|` over initialisations, of Paul, Ganguli and Dziugaite (NeurIPS 2021, section 2). We take the
  gradient with respect to the last layer alone, `(p - y) [h, 1]`, whose norm is `|p - y| sqrt(|h|^2 + 1)`; the paper
  takes all parameters.
  """
  lengths = np.sqrt(np.square(request.teacher.early_hidden).sum(axis=2, dtype=np.float64) + 1.0)
  return request.smallest(-(_early_errors(request) * lengths).mean(axis=0))


def _early_errors(request: Request) -> np.ndarray:
  """`[num_models, num log rows]` float64 distances of the early models' probabilities from the label."""
  return np.abs(_probabilities(request.teacher.early_logits) - request.log.labels)


def _probabilities(logits: np.ndarray) -> np.ndarray:
  return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


def boundary_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions of the rows that the teacher is least sure of, with `p` nearest to 1/2.

  Uncertainty sampling of Lewis and Gale, "A sequential algorithm for training text classifiers" (SIGIR 1994), as a
  core-set in Coleman et al., "Selection via proxy" (ICLR 2020). `|logit|` orders rows as `|p - 1/2|` does, and does not
  round sure rows to ties.
  """
  return request.smallest(np.abs(request.teacher.logits))


def _points(teacher: TeacherView, order: np.ndarray) -> np.ndarray:
  """`[num log rows, hidden + 1]` float32, the rows in the given order: the hidden space beside the logit, with mean 0.

  The logit is standardised. Hidden units are scaled by one common factor, to a variance of 1 on average: the space
  keeps its shape, and the logit counts the same whatever the scale of the layer.
  """
  parts = []
  for values in (teacher.hidden[order], teacher.logits[order, None]):
    centred = values - values.mean(axis=0, dtype=np.float64)
    parts.append(centred / max(float(np.sqrt(np.square(centred).mean())), 1e-6))
  return np.concatenate(parts, axis=1).astype(np.float32)


def herding_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions whose mean follows the log's mean, pick by pick, in the teacher's space.

  `w <- w + mean - x` after each pick `x` (Welling, "Herding dynamical weights to learn", ICML 2009). The pick is the
  row nearest to `w`, which brings the mean of all picks nearest to the log's (as Rebuffi et al., "iCaRL", CVPR 2017,
  algorithm 4); Welling's largest `<w, x>` is the same where all `x` have one length, and prefers long ones elsewhere. A
  row is picked at most once. Costs `O(num log rows * num_rows * hidden)`.
  """
  order = np.argsort(request.log.example_ids)
  points = _points(request.teacher, order)
  costs = np.square(points).sum(axis=1) / 2
  wanted = np.zeros(points.shape[1], np.float64)  # w, the mean of the points being 0.
  picks = []
  for _ in range(request.num_rows):
    picks.append(int(np.argmin(costs - points @ wanted.astype(np.float32))))
    costs[picks[-1]] = np.inf
    wanted -= points[picks[-1]]
  return order[picks]


def k_center_rows(request: Request) -> np.ndarray:
  """`[num_rows]` positions that leave no row of the log far from a picked one, in the teacher's space.

  Greedy k-centre: the row farthest from all centres becomes the next centre (Sener and Savarese, "Active learning for
  convolutional neural networks: a core-set approach", ICLR 2018, algorithm 1). The paper starts from labelled examples;
  our first centre is the row nearest to the mean. Costs `O(num log rows * num_rows * hidden)`.
  """
  order = np.argsort(request.log.example_ids)
  points = _points(request.teacher, order)
  squares = np.square(points).sum(axis=1)
  distances = np.full(len(points), np.inf, np.float32)
  picks = [int(np.argmin(squares))]
  for _ in range(request.num_rows - 1):
    np.minimum(distances, squares - 2 * (points @ points[picks[-1]]) + squares[picks[-1]], out=distances)
    # Not 0, which rounding can leave a copy of a centre below.
    distances[picks[-1]] = -np.inf
    picks.append(int(np.argmax(distances)))
  return order[picks]


def gradmatch_rows(request: Request) -> tuple[np.ndarray, np.ndarray]:
  """`[num_rows]` positions and their float64 weights, whose weighted gradients sum to the log's, chunk by chunk.

  GradMatch of Killamsetty et al., "GRAD-MATCH: gradient matching based data subset selection for efficient deep model
  training" (ICML 2021, section 3 and algorithm 2): orthogonal matching pursuit on `|sum_i w_i g_i - mean g|^2 +
  lambda |w|^2` with `w >= 0` and lambda `GRADMATCH_RIDGE`, on gradients of the last layer, `g = (p - y) [h, 1]`.

  Deviations. The paper selects anew every few epochs of one training; we select once, by the first of the early models,
  since at a trained teacher the mean gradient is only the noise around 0. Matching has as many dimensions as `g`, after
  whose number of picks it is saturated; the paper keeps its problems small by class and by mini-batch, and we cut the
  log in time order into chunks of which each is to give at most half as many rows as `g` has dimensions.
  """
  errors = _probabilities(request.teacher.early_logits[0]) - request.log.labels
  hidden = request.teacher.early_hidden[0]
  num_chunks = -(-request.num_rows // max((hidden.shape[1] + 1) // 2, 1))
  # Both splits put their longer parts first, so that no chunk is asked for more rows than it has.
  chunks = np.array_split(np.arange(len(request.log)), num_chunks)
  quotas = [len(part) for part in np.array_split(np.arange(request.num_rows), num_chunks)]
  rows, weights = [], []
  for chunk, quota in zip(chunks, quotas, strict=True):
    chunk = chunk[np.argsort(request.log.example_ids[chunk])]
    gradients = errors[chunk, None] * np.pad(hidden[chunk], ((0, 0), (0, 1)), constant_values=1.0)
    picks, values = matching_pursuit(gradients, gradients.mean(axis=0), quota, GRADMATCH_RIDGE)
    rows.append(chunk[picks])
    weights.append(values)
  return np.concatenate(rows), np.concatenate(weights)


def matching_pursuit(gradients: np.ndarray, target: np.ndarray, num_picks: int,
                     ridge: float) -> tuple[np.ndarray, np.ndarray]:
  """`[num_picks]` rows of `gradients` and non-negative weights by which they sum to `target`.

  Each step picks the row that correlates most with the residual, `g . (target - sum_i w_i g_i)`, and solves for all
  weights again. Once no row correlates positively, more weight only adds to the error: the quota is then filled by the
  largest correlations that are left, at the mean weight of the picks before (1 if there are none).

  Args:
    gradients: `[n, d]` float64, the gradient of each row.
    target: `[d]` float64, what weighted rows are to sum to.
    num_picks: number of rows to pick, at most `n`.
    ridge: penalty of a squared weight, positive.
  """
  picks: list[int] = []
  weights = np.zeros(0)
  correlations = gradients @ target
  nothing = 1e-10 * float(np.abs(correlations).max(initial=0.0))
  while len(picks) < num_picks:
    correlations[picks] = -np.inf
    best = int(np.argmax(correlations))
    if correlations[best] <= nothing:
      break
    picks.append(best)
    chosen = gradients[picks]
    weights = nonnegative_ridge(chosen, target, ridge)
    correlations = gradients @ (target - weights @ chosen)
  filled = np.argsort(-correlations, kind="stable")[:num_picks - len(picks)]
  mean = weights.mean() if len(weights) else 1.0
  return np.concatenate([np.array(picks, np.int64), filled]), np.concatenate([weights, np.full(len(filled), mean)])


def nonnegative_ridge(rows: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
  """`[n]` float64, the `x >= 0` at which `|x rows - target|^2 + ridge |x|^2` is least.

  The penalty is a row of the least-squares problem for each weight, which has then one solution.

  Args:
    rows: `[n, d]` float64, the rows that are weighted.
    target: `[d]` float64, what weighted rows are to sum to.
    ridge: penalty of a squared weight, positive.
  """
  system = np.concatenate([rows.T, np.sqrt(ridge) * np.eye(len(rows))])
  return nnls(system, np.concatenate([target, np.zeros(len(rows))]))[0]


def training_weights(weights: np.ndarray) -> np.ndarray:
  """`[n]` float32 weights with mean 1: `weights` in units of their mean, bounded by `WEIGHT_BOUNDS`, and scaled again.

  Args:
    weights: `[n]` float64, weights that are not negative, and not all 0.
  """
  bounded = np.clip(weights / weights.mean(), *WEIGHT_BOUNDS)
  return (bounded / bounded.mean()).astype(np.float32)


_UNWEIGHTED: dict[str, Callable[[Request], np.ndarray]] = {
    "random": random_rows,
    "recent": recent_rows,
    "reservoir_decay": reservoir_decay_rows,
    "stratified_label": stratified_label_rows,
    "stratified_field": stratified_field_rows,
    "el2n": el2n_rows,
    "grand": grand_rows,
    "boundary": boundary_rows,
    "herding": herding_rows,
    "k_center": k_center_rows,
}
# All names, in the order of tables.
SELECTIONS: tuple[str, ...] = (*_UNWEIGHTED, "gradmatch")


def select(name: str, log: EncodedRows, teacher: TeacherView, num_rows: int, seed: int) -> Selection:
  """The `num_rows` rows that the selection `name` picks from the log, shuffled.

  All selections are shuffled, `recent` too, since a fixed order is what trainers read. The selections that draw nothing
  depend on the seed by that order alone. Weights are 1 but for `gradmatch`.

  Args:
    name: name of the selection, one of `SELECTIONS`.
    log: rows that may be chosen.
    teacher: outputs of the models for the same rows.
    num_rows: number of rows to choose.
    seed: seed of the draw and of the order.

  Raises:
    ConfigError: there is no such selection, or `num_rows` is below 1.
    DataError: the log has fewer rows, is not in time order or repeats an example id, or the teacher saw other rows.
    NumericsError: a logit or a hidden unit is not finite.
  """
  if name not in SELECTIONS:
    raise ConfigError("selection", rule=f"is one of {', '.join(SELECTIONS)}.", received=repr(name),
                      remedy="use one of these names.")
  _check(log, teacher, num_rows)
  request = Request(log, teacher, num_rows, np.random.default_rng(seed))
  if name == "gradmatch":
    rows, weights = gradmatch_rows(request)
    weights = training_weights(weights)
  else:
    rows, weights = _UNWEIGHTED[name](request), np.ones(num_rows, np.float32)
  # Shuffling from the order of example ids, the training order is that of the set, however it was found.
  order = np.argsort(log.example_ids[rows])[request.random.permutation(num_rows)]
  return Selection(rows[order].astype(np.int64), weights[order])


def _check(log: EncodedRows, teacher: TeacherView, num_rows: int) -> None:
  if num_rows < 1:
    raise ConfigError("num_rows", rule="is at least 1.", received=str(num_rows), remedy="raise it.")
  if num_rows > len(log):
    raise DataError("log", rule=f"has at least the {num_rows} rows to select.", received=f"{len(log)} rows.",
                    remedy="lower the number of rows, or read more spans.")
  lengths = [len(log.labels), len(log.example_ids), len(log.spans), len(teacher.logits), teacher.early_logits.shape[1],
             teacher.early_hidden.shape[1], len(teacher.hidden)]
  if set(lengths) != {len(log)}:
    raise DataError("log", rule="the columns and the models' outputs have one entry per row.",
                    received=f"{len(log)} rows and {lengths} entries.", remedy="run the models on this very log.")
  if (np.diff(log.spans) < 0).any():
    raise DataError("log", rule="is in time order.", received="a span after a newer one.",
                    remedy="read spans in ascending order.")
  if len(np.unique(log.example_ids)) != len(log):
    raise DataError("log", rule="no example id occurs twice.", received="a repeated one.",
                    remedy="leave out spans that were read twice.")
  for field in dataclasses.fields(teacher):
    if not np.isfinite(getattr(teacher, field.name)).all():
      raise NumericsError(f"teacher.{field.name}", rule="every value is finite.", received="NaN or infinity.",
                          remedy="lower the learning rate of the model that gave them.")

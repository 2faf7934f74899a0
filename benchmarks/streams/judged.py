"""How well the memory after a span stands for the log up to it, judged on the span that follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.curve import point_figures
from benchmarks.fidelity.benchmark import Benchmark
from benchmarks.fidelity.distillations import held_back
from benchmarks.fidelity.encoded_log import EncodedLog, read_log
from benchmarks.fidelity.member_work import MemberScores, selection_rows
from benchmarks.fidelity.sources import LOG, MEMORY
from benchmarks.fidelity.trained import PanelMember
from benchmarks.fidelity.trainings import MemberTrainer
from diet_tf.config.config import Config
from diet_tf.io import files
from diet_tf.memory.memory import Memory
from diet_tf.models import parse_member
from diet_tf.store.memories import load_memory
from diet_tf.store.store import MEMORY_PART, Store


@dataclasses.dataclass(frozen=True)
class JudgedSpan(Benchmark):
  """A benchmark of the memories after one span: the log ends there, and the next span is the test.

  Attributes:
    log_folder: folder of the encoded log, with the spans that follow.
    store_uris: root of the store of each seed's stream.
    span: number of the span.
  """

  log_folder: str = ""
  store_uris: tuple[str, ...] = ()
  span: int = 0

  @classmethod
  def of(cls, config: Config, folder: str, log_folder: str, store_uris: Sequence[str], span: int,
         members: Sequence[str]) -> JudgedSpan:
    """The benchmark of a span.

    Args:
      config: config of the log and of every stage.
      folder: folder that the trainings are kept in.
      log_folder: folder of the encoded log.
      store_uris: root of the store of each seed's stream.
      span: number of the span.
      members: names of the members that the memories are judged by.
    """
    proxies = {parse_member(name).model for name in config.distill.proxies}
    panel = tuple(PanelMember(name, parse_member(name).model in proxies, "(" in name) for name in members)
    seeds = tuple(config.seed + index for index in range(len(store_uris)))
    return cls(config=config, folder=folder, members=panel, seeds=seeds, ablation_members=(), ablation_seeds=(),
               ablation_steps=0, selections=(), with_bounds=False, with_ablations=False, with_course=False,
               log_folder=log_folder, store_uris=tuple(store_uris), span=span)

  def log(self) -> EncodedLog:
    """The log up to the span, and the next one as its test."""
    whole = read_log(self.config, self.log_folder)
    spans = (*whole.train_spans, *whole.test_spans)
    end = spans.index(self.span) + 1
    return dataclasses.replace(whole, rows=whole.rows.of_spans(spans[:end + 1]), train_spans=spans[:end],
                               test_spans=(spans[end],))

  def memories(self) -> list[Memory]:
    """The memories after the span, one for each seed."""
    found = []
    for store in map(Store, self.store_uris):
      commit = store.read_if_there(self.span)
      assert commit is not None
      found.append(load_memory(store.path(commit, MEMORY_PART)))
    return found

  def figures(self) -> Mapping[str, Any]:
    """Agreement, regret and recoveries as `benchmarks.curve.point_figures` has them, and the seconds of a pass."""
    on_log, on_memory = ({member.name: MemberScores(member.name, source).read(self)[source]
                          for member in self.members} for source in (LOG, MEMORY))
    passes = [trained.seconds / trained.epochs for trained in on_log.values()]
    return {**point_figures(self.log().test.labels, on_log, on_memory), "pass_seconds": float(np.mean(passes))}


@dataclasses.dataclass(frozen=True)
class MemberOnSpan:
  """The trainings of one member on the log up to a span, in as many passes as are best, and on its memories."""

  member: str

  def done(self, benchmark: Benchmark) -> bool:
    """Whether it has been trained on both."""
    return all(MemberScores(self.member, source).done(benchmark) for source in (LOG, MEMORY))

  def run(self, benchmark: Benchmark) -> None:
    """Trains the member, and writes what was not there."""
    assert isinstance(benchmark, JudgedSpan)
    log, memories = benchmark.log(), benchmark.memories()
    trainer = MemberTrainer(self.member, log.spec, memories[0].recipe, selection_rows(benchmark, log), log.test)
    if not MemberScores(self.member, MEMORY).done(benchmark):
      MemberScores(self.member, MEMORY).write(benchmark, {MEMORY: trainer.on_memories(memories, benchmark.seeds)})
    if not MemberScores(self.member, LOG).done(benchmark):
      MemberScores(self.member, LOG).write(benchmark, {
          LOG: trainer.on_log(log.train, held_back(benchmark, log.train), benchmark.seeds)})


def folder_of(work: str, span: int, num_seeds: int) -> str:
  """The folder of the trainings that judge the memories of so many streams after a span."""
  return files.join(work, "judged", f"{span}-{num_seeds}-seeds")

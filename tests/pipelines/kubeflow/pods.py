"""Runs container commands one after the other, each in a process forked from one that has imported TFX already.

A line of JSON on standard input asks for a command: `arguments` (python -m MODULE ...), `environment`, `log` (a file),
and `kill`, which names a moment at which the process kills itself: "start", "end" (of the executor's work) or a number
of seconds after the start. A line on standard output answers with its exit code; a signal is negative.
"""

import json
import os
import runpy
import signal
import sys


def main() -> None:
  import tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor  # noqa: F401

  import diet_tf.gate  # noqa: F401
  import tfx_components.log_gen.executor  # noqa: F401
  print("ready", flush=True)
  for line in sys.stdin:
    process = os.fork()
    if not process:
      run(json.loads(line))
    _, status = os.waitpid(process, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def run(request: dict) -> None:
  """Becomes the container; never returns."""
  log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  for stream in (1, 2):
    os.dup2(log, stream)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  os.environ.update(request["environment"])
  python, dash, module, *arguments = request["arguments"]
  assert (python, dash) == ("python", "-m"), request["arguments"]
  if request["kill"]:
    die_at(request["kill"], arguments[arguments.index("--executor_class_path") + 1])
  sys.argv = [module, *arguments]
  runpy.run_module(module, run_name="__main__", alter_sys=True)
  os._exit(99)  # The entry point ends the process itself.


def die_at(moment: str | float, executor_path: str) -> None:
  """Prepares the process's death, as the kernel kills what takes too much memory."""
  from tfx.utils import import_utils

  executor = import_utils.import_class_by_path(executor_path)
  work = executor.Do

  def dying(self, *arguments):
    if moment == "start":
      os.kill(os.getpid(), signal.SIGKILL)
    if isinstance(moment, float):
      signal.signal(signal.SIGALRM, signal.SIG_DFL)
      signal.setitimer(signal.ITIMER_REAL, moment)
    work(self, *arguments)
    if moment == "end":
      os.kill(os.getpid(), signal.SIGKILL)

  executor.Do = dying


if __name__ == "__main__":
  main()

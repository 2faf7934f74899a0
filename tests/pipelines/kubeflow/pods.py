"""Runs container commands one after the other, each in a process forked from one that has imported TFX already.

A line of JSON on standard input asks for a command: `arguments` (python -m MODULE ...), `environment`, `log` (a file),
and `kill`, a moment at which the process dies: "start" or "end" of the executor's work, or a number of seconds after
its start. How long that work took is left beside the log. A line on standard output answers with the exit code; that of
a signal is negative.
"""

import json
import os
import runpy
import signal
import sys
import time


def main() -> None:
  import tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor  # noqa: F401

  import diet_tf.distillation.gate  # noqa: F401
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
  observe(arguments[arguments.index("--executor_class_path") + 1], request["kill"], request["log"] + ".seconds")
  sys.argv = [module, *arguments]
  runpy.run_module(module, run_name="__main__", alter_sys=True)
  os._exit(99)  # The entry point ends the process itself.


def observe(executor_path: str, kill: str | float | None, seconds_path: str) -> None:
  """Measures the executor's work, and prepares the process's death, as of one that takes too much memory."""
  from tfx.utils import import_utils

  executor = import_utils.import_class_by_path(executor_path)
  work = executor.Do

  def observed(self, *arguments):
    if kill == "start":
      os.kill(os.getpid(), signal.SIGKILL)
    if isinstance(kill, float):
      signal.signal(signal.SIGALRM, signal.SIG_DFL)  # As sudden as SIGKILL: no handler, no clean-up.
      signal.setitimer(signal.ITIMER_REAL, kill)
    start = time.monotonic()
    work(self, *arguments)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if kill == "end":
      os.kill(os.getpid(), signal.SIGKILL)
    with open(seconds_path, "w") as output:
      output.write(str(time.monotonic() - start))

  executor.Do = observed


if __name__ == "__main__":
  main()

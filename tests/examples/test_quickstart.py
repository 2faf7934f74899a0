"""The notebook: it is kept as it was run, and it runs."""

from __future__ import annotations

import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
MAX_BYTES = 400_000
MEMBERS = {"lr", "fm", "dnn", "dcn_v2", "Pooled"}


@pytest.fixture
def notebook():
  nbformat = pytest.importorskip("nbformat")
  return nbformat.read(NOTEBOOK, as_version=4)


def _code_cells(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _text(cell) -> str:
  """What a cell printed."""
  return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def _check_figures(text: str) -> None:
  """The last cell compares, for each architecture, log, memory and random rows."""
  rows = re.findall(r"^(\w+) +(0\.\d+) +(0\.\d+) +(0\.\d+) +(-?\d+\.\d+)$", text, re.MULTILINE)
  assert {row[0] for row in rows} == MEMBERS
  for name, log, memory, random, recovery in rows:
    assert 0.5 < float(memory) < 1, name
    assert float(memory) > float(random), name
    # From figures that are rounded to four places.
    assert float(recovery) == pytest.approx((float(memory) - 0.5) / (float(log) - 0.5), abs=0.002), name
  logs = {row[0]: row[1] for row in rows}
  name, chosen, best = re.search(r"which chooses (\w+): AUC (\S+) there; the best of all has (0\.\d+)", text).groups()
  assert chosen == logs[name] and best == max(logs.values())
  assert float(best) - float(chosen) < 0.02


def test_the_notebook_is_kept_as_it_was_run(notebook):
  cells = _code_cells(notebook)
  assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
  outputs = [output for cell in cells for output in cell.outputs]
  assert {output.output_type for output in outputs} <= {"stream", "display_data"}
  # No warnings, no progress bars, and no script from elsewhere.
  assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
  displayed = [output for output in outputs if output.output_type == "display_data"]
  assert len(displayed) == 3 and all(set(output.data) == {"image/png", "text/plain"} for output in displayed)
  assert NOTEBOOK.stat().st_size < MAX_BYTES
  _check_figures(_text(cells[-1]))


def test_the_notebook_names_no_folder_of_a_machine(notebook):
  texts = [cell.source for cell in notebook.cells] + [_text(cell) for cell in _code_cells(notebook)]
  absolute = re.compile(r"""(?:^|[\s"'(=])(?:/|~/|[A-Z]:\\)\w""", re.MULTILINE)
  assert not [match.group() for text in texts for match in absolute.finditer(text)]


def test_the_notebook_s_links_resolve(notebook):
  links = [link for cell in notebook.cells if cell.cell_type == "markdown"
           for link in re.findall(r"\]\(([^)\s]+)\)", cell.source)]
  assert links and all((NOTEBOOK.parent / link).resolve().exists() for link in links)


@pytest.mark.slow(seconds=100)
@pytest.mark.timeout(1200)
def test_the_notebook_runs_from_an_empty_folder(notebook, tmp_path, monkeypatch):
  nbclient = pytest.importorskip("nbclient")
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
  for cell in _code_cells(notebook):
    cell.outputs, cell.execution_count = [], None
  client = nbclient.NotebookClient(notebook, timeout=1000, kernel_name="python3",
                                   resources={"metadata": {"path": str(tmp_path)}})
  client.execute()  # An error in a cell is raised.
  _check_figures(_text(_code_cells(notebook)[-1]))
  assert [path.name for path in tmp_path.iterdir()] == ["diet_runs"]

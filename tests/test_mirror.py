"""Tests mirror the rooms: each module of `diet_tf` has a test file of its name in the same folder of `tests`."""

from __future__ import annotations

import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
_FORWARD = "models/test_forward_values.py"
# Where a module is tested that has no test file of its name.
TESTED_ELSEWHERE = {
    "cli/help.py": "cli/test_main.py",
    "config/retention.py": "config/test_config.py",
    "cli/memory.py": "cli/test_main.py",
    "distillation/clusters.py": "distillation/test_squash.py",
    "distillation/learned_memory.py": "distillation/test_refinement.py",
    "distillation/start.py": "distillation/test_stage.py",
    "fidelity/own_rates.py": "fidelity/test_panel.py",
    "fidelity/member_fidelity.py": "fidelity/test_panel.py",
    "fidelity/panel_settings.py": "fidelity/test_panel.py",
    "fidelity/result.py": "fidelity/test_panel.py",
    "fidelity/result_format.py": "../test_document_formats.py",
    "fidelity/scores.py": "fidelity/test_trainings.py",
    "io/documents.py": "../test_document_formats.py",
    "io/files.py": "../s3/test_files.py",
    "io/remote_file.py": "../s3/test_files.py",
    "io/s3.py": "test_file_systems.py",
    "memory/export_readme.py": "memory/test_export.py",
    "memory/manifest.py": "memory/test_memory.py",
    "memory/torch_layout.py": "memory/test_export.py",
    # A logit of each architecture by hand.
    "models/autoint.py": _FORWARD,
    "models/dcn.py": _FORWARD,
    "models/deep.py": _FORWARD,
    "models/dlrm.py": _FORWARD,
    "models/interactions.py": _FORWARD,
    "models/shallow.py": _FORWARD,
    # What holds of all of them.
    "models/ranking_model.py": "models/test_panel.py",
    "models/tower.py": "models/test_panel.py",
    "models/inputs.py": "models/test_bag_model.py",
    "models/tfrs_ranking.py": "models/test_registry.py",
    # Pages are read as a whole.
    "report/fidelity_figures.py": "report/test_run_report.py",
    "report/memory_figures.py": "report/test_run_report.py",
    "report/page.py": "report/test_run_report.py",
    "settings.py": "config/test_config.py",
    "store/commit.py": "store/test_verification.py",
    "store/memories.py": "store/test_store.py",
    "store/reader.py": "store/test_store.py",
    "training/learner.py": "fidelity/test_panel.py",
    "training/slot_features.py": "training/test_proxies.py",
    "training/variable_blocks.py": "training/test_bilevel.py",
}
MODULES = [str(path.relative_to(ROOT / "diet_tf")) for path in sorted((ROOT / "diet_tf").rglob("*.py"))
           if not path.name.startswith("__")]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_file_of_its_name_or_a_listed_one(module: str):
  tests, path = ROOT / "tests" / "diet_tf", pathlib.Path(module)
  own = path.with_name(f"test_{path.name}")
  if (tests / own).exists():
    assert module not in TESTED_ELSEWHERE, f"{module} has tests/diet_tf/{own}: take it out of TESTED_ELSEWHERE"
  else:
    assert module in TESTED_ELSEWHERE, f"write tests/diet_tf/{own}"
    assert (tests / TESTED_ELSEWHERE[module]).resolve().is_file()


def test_only_modules_are_listed():
  assert not set(TESTED_ELSEWHERE) - set(MODULES)

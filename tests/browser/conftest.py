"""A headless Chromium, where there is one: the report is looked at as its readers do."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

# Beside a CHROMIUM of the environment, the names that distributions and vendors give it.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync")


def _executable() -> str:
  named = os.environ.get("CHROMIUM")
  found = named or next((path for path in map(shutil.which, NAMES) if path), None)
  if found is None:
    pytest.skip("no Chromium: install the package chromium, or name the program in CHROMIUM.")
  return found


@pytest.fixture(scope="session")
def browser():
  api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'diet-tf[dev]'.")
  executable = _executable()
  with api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
    yield browser
    browser.close()


class Opener:
  """Opens pages that lie on the disk, and remembers what they complain of and what they ask the network for."""

  def __init__(self, browser, folder: pathlib.Path) -> None:
    self._browser = browser
    self._folder = folder
    self.complaints: list[str] = []
    self.requests: list[str] = []

  def __call__(self, text: str, *, width: int = 1200, scheme: str = "light", script: bool = True):
    path = self._folder / "report.html"
    path.write_text(text, encoding="utf-8")
    context = self._browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme,
                                        java_script_enabled=script, accept_downloads=True)
    page = context.new_page()
    page.on("console", lambda message: self.complaints.append(message.text))
    page.on("pageerror", lambda error: self.complaints.append(str(error)))
    page.on("request", lambda request: self.requests.append(request.url))
    page.goto(path.as_uri())
    return page


@pytest.fixture
def open_page(browser, tmp_path):
  opener = Opener(browser, tmp_path)
  yield opener
  for context in browser.contexts:
    context.close()

"""The site in headless Chromium, from the file system: it fits, searches, and asks the network for nothing."""

from __future__ import annotations

import pytest

from tests.documents import build_site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'diet-tf[docs]'.")
  folder = tmp_path_factory.mktemp("site")
  build_site(folder)
  return folder


@pytest.fixture
def visit(browser, site):
  """Opens a page of the site; at the end, no page has complained or asked for anything but files."""
  complaints, requests, contexts = [], [], []

  def visit(name: str, *, width: int = 1280):
    contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme="light"))
    page = contexts[-1].new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((site / name).as_uri())
    return page

  yield visit
  for context in contexts:
    context.close()
  assert complaints == [] and {url.partition(":")[0] for url in requests} <= {"file", "data"}


def test_pages_fit_a_phone(visit, site):
  names = [str(path.relative_to(site)) for path in site.rglob("*.html") if path.name != "404.html"]
  assert len(names) > 20
  page = visit("index.html", width=360)
  for name in names:
    page.goto((site / name).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    assert page.locator("h1").first.is_visible()


def test_the_search_finds_pages(visit):
  page = visit("how-to/s3.html")
  page.locator("input.md-search__input").click()
  page.locator("input.md-search__input").type("hypergradient addressing")
  page.locator(".md-search-result__link").first.wait_for()
  assert "method.html" in page.locator(".md-search-result__link").first.get_attribute("href")


def test_the_diagram_follows_the_page_into_the_dark(visit):
  page = visit("concepts.html")
  diagram = page.locator("img[src$='stage.svg']")
  light = diagram.screenshot()
  page.locator("label[title=Dark]:visible").click()
  page.mouse.move(0, 0)
  page.wait_for_timeout(500)  # Colours fade.
  assert diagram.screenshot() != light
  box = diagram.bounding_box()
  assert box["width"] >= 400 and box["height"] > box["width"]

"""The report in headless Chromium: what its script does, how it fits, and whether everyone can read it."""

from __future__ import annotations

import pytest

from diet_tf.report.stage_report import render_stage_report
from tests.diet_tf.small_report import BREAK_EVEN, make_result, make_slots, make_stages, render

HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script>"
# By best practice too: regions, headings, landmarks.
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@pytest.fixture
def stage_page():
  return render_stage_report(make_stages()[2], make_slots())


def column(page, table: int, cell: int) -> list[str]:
  return page.locator("table.sorted").nth(table).locator(f"tbody tr > :nth-child({cell})").all_inner_texts()


def set_slider(page, value: int) -> str:
  slider = page.get_by_label("Number of architectures")
  slider.evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value)
  return page.locator("#break-even-text").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_renders_without_complaint_and_asks_for_nothing(open_page, stage_page, scheme):
  for text in (render(), render(slots=None, stages=[], coverage=None), render(make_result(HOSTILE)), stage_page):
    page = open_page(text, scheme=scheme)
    assert page.locator("h1").is_visible()
    assert all(box["width"] > 0 and box["height"] > 0 for box in
               (svg.bounding_box() for svg in page.locator("figure svg[role=img]").all()))
  assert open_page.complaints == []
  assert {url.partition(":")[0] for url in open_page.requests} == {"file"} and len(set(open_page.requests)) == 1


def test_tables_sort(open_page):
  page = open_page(render())
  header = page.locator("table.sorted").nth(0).get_by_role("columnheader", name="whole log")
  assert column(page, 0, 1) == ["lr", "dnn"]
  header.get_by_role("button").click()  # The best comes first.
  assert column(page, 0, 1) == ["dnn", "lr"] and header.get_attribute("aria-sort") == "descending"
  header.get_by_role("button").press("Enter")
  assert column(page, 0, 1) == ["lr", "dnn"] and header.get_attribute("aria-sort") == "ascending"
  names = page.locator("table.sorted").nth(0).get_by_role("columnheader", name="member")
  names.get_by_role("button").click()
  assert column(page, 0, 1) == ["dnn", "lr"] and names.get_attribute("aria-sort") == "ascending"
  assert header.get_attribute("aria-sort") is None
  assert column(page, 1, 1) == ["lr", "dnn"]  # The other tables stay as they were.


def test_the_slider_recomputes(open_page):
  page = open_page(render())
  assert page.locator("#break-even-text").inner_text().startswith("2: 2.0 s on the log, 36.2 s on the memory")
  # 39 on the log: 39 s; on the memory: 36 + 39 * 0.1 = 39.9 s.
  assert set_slider(page, BREAK_EVEN - 1) == "39: 39.0 s on the log, 39.9 s on the memory; the log saves 0.9 s."
  assert set_slider(page, 100) == "100: 100.0 s on the log, 46.0 s on the memory; the memory saves 54.0 s."
  slider, marker = page.locator("#architectures"), page.locator("#break-even .marker")
  assert float(marker.get_attribute("x1")) == float(slider.get_attribute("data-right"))
  set_slider(page, 50)
  middle = (float(slider.get_attribute("data-left")) + float(slider.get_attribute("data-right"))) / 2
  assert float(marker.get_attribute("x1")) == pytest.approx(middle)
  slider.focus()
  page.keyboard.press("ArrowRight")
  assert page.locator("#break-even-text").inner_text().startswith("51: 51.0 s on the log, 41.1 s on the memory")


def test_the_script_says_what_the_page_says_without_it(open_page):
  for text in (render(), render(make_result().replace(spans=(1,)))):
    said = [open_page(text, script=script).locator("#break-even-text").inner_text() for script in (True, False)]
    assert said[0] == said[1]


def test_data_can_be_copied_and_downloaded(open_page):
  page = open_page(render())
  details = page.locator("#ages details.data")
  details.locator("summary").click()
  expected = "born_span,changed,kept\r\n1,10,10\r\n2,10,10\r\n3,10,0\r\n"
  page.evaluate("addEventListener('copy', () => { window.copied = document.activeElement.value; })")
  details.get_by_role("button", name="Copy").click()
  details.get_by_text("Copied.").wait_for()
  assert page.evaluate("window.copied") == expected.replace("\r\n", "\n")  # As a text area holds lines.
  assert page.evaluate("document.activeElement.className") == "copy"
  with page.expect_download() as download:
    details.get_by_role("link", name="Download").click()
  assert download.value.suggested_filename == "slots_by_age.csv"
  with open(download.value.path(), newline="") as file:
    assert file.read() == expected


def test_no_overflow_on_a_phone(open_page, stage_page):
  for text in (render(), render(make_result("dnn(embedding_dim=4,hidden_units=256-128-64)" * 3)), stage_page):
    page = open_page(text, width=360)
    page.locator("details").evaluate_all("all => all.forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    wide = page.evaluate("""() => [...document.querySelectorAll("main *")].filter((element) =>
        !element.closest(".scroll, pre, svg") && element.getBoundingClientRect().right > 360.5).map((element) =>
        element.outerHTML.slice(0, 100))""")
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_accessibility_rules_pass(open_page, stage_page, scheme, width):
  axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed.")
  for text in (render(), render(slots=None, stages=[], coverage=None), stage_page):
    page = open_page(text, width=width, scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach((each) => { each.open = true; })")
    found = axe.Axe().run(page, options={"runOnly": {"type": "tag", "values": list(TAGS)}})
    assert [(rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"])
            for rule in found.response["violations"]] == []
    assert len(found.response["passes"]) > 10


def test_print(open_page):
  page = open_page(render(), scheme="dark")
  assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(255, 255, 255)"
  page.emulate_media(media="print", color_scheme="dark")
  assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(11, 11, 11)"
  for hidden in ("nav", "#architectures", "#fidelity .actions", "#ages details.data"):
    assert not page.locator(hidden).first.is_visible()
  for shown in (".verdict", "#scatter svg[role=img]", "#break-even-text", "table.sorted >> nth=0"):
    assert page.locator(shown).is_visible()
  page.set_viewport_size({"width": 680, "height": 900})  # About what A4 leaves between its margins.
  assert page.evaluate("document.documentElement.scrollWidth") <= 680
  assert page.evaluate("""[...document.querySelectorAll(".scroll")].every((each) =>
      getComputedStyle(each).overflowX === "visible")""")
  assert page.pdf(format="A4").startswith(b"%PDF-")


def test_it_works_in_the_frame_of_kubeflow_pipelines(open_page):
  """The console puts the page into a frame that may run scripts and nothing else."""
  page = open_page("<!DOCTYPE html><iframe sandbox='allow-scripts' width='800' height='600'></iframe>")
  page.locator("iframe").evaluate("(frame, text) => { frame.srcdoc = text; }", render())
  frame = page.frame_locator("iframe")
  assert frame.locator(".verdict").inner_text().startswith("Whether architectures can be chosen on this")
  slider = frame.get_by_label("Number of architectures")
  slider.focus()
  page.keyboard.press("End")
  assert frame.locator("#break-even-text").inner_text().startswith("100: 100.0 s on the log, 46.0 s on the memory")
  frame.locator("table.sorted").nth(0).get_by_role("button", name="member").click()
  assert frame.locator("table.sorted").nth(0).locator("tbody th").all_inner_texts() == ["dnn", "lr"]
  frame.get_by_role("link", name="Heaviest slots", exact=True).click()
  assert frame.locator("#heaviest").evaluate("(section) => section.getBoundingClientRect().top") < 300
  frame.locator("#ages summary").click()
  assert frame.locator("#ages details.data tbody tr").nth(0).inner_text().split() == ["1", "10", "10"]
  frame.get_by_role("button", name="Copy: Slots by age").click()
  frame.locator("#ages").get_by_text("Copied.").wait_for()
  assert open_page.complaints == []

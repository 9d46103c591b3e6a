"""MLflow's page and the report in a real browser: what a person sees behind every link that `xentlab ui` prints."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tracking_lab import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 90_000  # a busy machine draws slowly
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
RATES = (0.03, 0.3)
COMPARE = (
    "compare", "comparison=quickstart", "comparison.losses=[ce,mse]", "comparison.final_seeds=3", "tracking.wait=120",
    f"comparison.tune.optimizer.lr=[{RATES[0]},{RATES[1]}]", "comparison.extensions=0", "trainer.epochs=4",
    "model.hidden=[8]", "executor=inline",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path (Debian: apt-get install chromium)")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS + root)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def root(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory with one small comparison, run as a user runs it; `browser` first, for it may skip."""
    del browser
    here = tmp_path_factory.mktemp("my runs")
    command = [sys.executable, "-m", "xentlab", *COMPARE]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return here / "xentlab-runs"


@pytest.fixture(scope="module")
def links(root: Path) -> Iterator[dict[str, str]]:
    """What `xentlab ui` prints, by what each link shows; ended as a user ends it, which must leave nothing behind."""
    port = free_port()
    command = [sys.executable, "-m", "xentlab", "ui", "--root", str(root), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found = {}
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                break
            url, _, shows = line.rstrip("\n").partition("  ")
            found[shows] = url
        try:
            assert process.poll() is None, process.stderr.read()
            yield found
        finally:
            process.send_signal(signal.SIGINT)
            code, said = process.wait(30), process.stderr.read()
    assert (code, said) == (0, "")
    assert not _answers(port)


def _answers(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of desktop size on which no script fails."""
    context = browser.new_context(viewport={"width": 1800, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    failures: list[str] = []
    opened.on("pageerror", lambda error: failures.append(str(error)))
    yield opened
    context.close()
    # MLflow's own, harmless: a resized chart that is drawn a frame later
    assert [f for f in failures if "ResizeObserver" not in f] == []


def link(links: dict[str, str], words: str) -> str:
    (url,) = [url for shows, url in links.items() if words in shows]
    return url


def drawn(page: Page, metric: str, *, legend: tuple[str, ...]) -> dict[str, dict[str, list[float]]]:
    """The curves in the chart of a metric, by run or group, once its legend names these losses."""
    card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text=metric).first
    for loss in legend:
        card.get_by_text(f"{loss} ({metric})", exact=True).first.wait_for()
    script = """metric => Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')]
        .flatMap(plot => plot.data).filter(trace => trace.metricKey === metric)
        .map(trace => [trace.uuid, {x: [...trace.x], y: [...trace.y]}]))"""
    page.wait_for_function(f"metric => Object.keys(({script})(metric)).length >= {len(legend)}", arg=metric)
    found: dict[str, dict[str, list[float]]] = page.evaluate(script, metric)
    return found


def test_the_overview_lists_the_comparison_alone(page: Page, links: dict[str, str]) -> None:
    page.goto(link(links, "all comparisons, sweeps and trainings"))
    page.get_by_role("link", name="quickstart-1 · digits · mlp · 20").first.wait_for()
    page.get_by_text("1 matching run").wait_for()


def test_the_experiment_lists_every_run(page: Page, links: dict[str, str]) -> None:
    page.goto(link(links, "every run of the experiment"))
    page.get_by_text("matching runs").first.wait_for()
    page.get_by_role("link", name="quickstart-1 ·").first.wait_for()


def test_the_comparison_says_its_verdict_first(page: Page, links: dict[str, str]) -> None:
    page.goto(link(links, "the comparison 'quickstart-1'"))
    page.get_by_text("test error").first.wait_for()
    page.get_by_text("3 paired replicates").first.wait_for()
    page.get_by_role("link", name="mse", exact=True).first.wait_for()


def test_the_report_opens_among_the_artifacts(page: Page, links: dict[str, str]) -> None:
    page.goto(link(links, "its report"))
    inner = page.frame_locator("iframe").first
    inner.get_by_role("heading", name="quickstart").first.wait_for()
    inner.get_by_text("mse against ce on test error").or_(inner.get_by_text("mse is")).first.wait_for()


def test_the_table_has_a_row_for_each_loss_with_its_verdict(page: Page, links: dict[str, str]) -> None:
    page.goto(link(links, "one row for each loss"))
    for loss in ("ce", "mse"):
        page.get_by_role("link", name=loss, exact=True).first.wait_for()
    cells = page.get_by_role("gridcell")
    cells.get_by_text("baseline", exact=True).first.wait_for()
    verdicts = cells.filter(has_text="inconclusive").or_(cells.filter(has_text="worse"))
    verdicts.or_(cells.filter(has_text="better")).or_(cells.filter(has_text="equivalent")).first.wait_for()
    for header in ("verdict", "test error", "against baseline", "p Holm"):
        page.get_by_role("columnheader").get_by_text(header, exact=True).first.wait_for()
    page.get_by_text("2 matching runs").wait_for()


def test_convergence_has_a_curve_for_each_loss(page: Page, links: dict[str, str]) -> None:
    page.goto(link(links, "convergence by loss"))
    for loss in ("ce", "mse"):
        page.get_by_text(f"Group: {loss}", exact=True).first.wait_for()
    curves = drawn(page, "val/error", legend=("ce", "mse"))
    assert curves.keys() == {"tag.arm.ce", "tag.arm.mse"}
    assert [len(curve["y"]) for curve in curves.values()] == [4, 4]


def test_learning_rate_sensitivity_has_every_rate_of_each_loss(page: Page, links: dict[str, str]) -> None:
    page.goto(link(links, "learning-rate sensitivity"))
    curves = drawn(page, "tuning/validation error", legend=("ce", "mse"))
    assert len(curves) == 2
    for curve in curves.values():
        assert [round(10**x, 6) for x in curve["x"]] == list(RATES)


def test_a_trial_shows_its_curves(page: Page, links: dict[str, str]) -> None:
    page.goto(link(links, "one trial"))
    page.get_by_text("val/error vs train/error").first.wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.js-plotly-plot')].some(p => p.data.some(t => t.y && t.y.length === 4))"
    )


def test_a_server_that_runs_already_gets_the_same_links(links: dict[str, str], tmp_path: Path) -> None:
    address = link(links, "every run").partition("/#")[0]
    command = [sys.executable, "-m", "xentlab", "ui", "--uri", address, "--root", str(tmp_path / "elsewhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("  ", 1) for line in done.stdout.splitlines()]
    assert {shows: url for url, shows in lines} == links


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_stands_alone(browser: Browser, root: Path, scheme: Any, width: int) -> None:
    (report,) = (root / "comparisons").glob("*/report.html")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.get_by_role("heading", name="quickstart").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in background.removeprefix("rgb(").rstrip(")").split(",")) > 3 * 128
    assert light == (scheme == "light")
    assert page.locator("svg").count() > 0
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()

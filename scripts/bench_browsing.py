#!/usr/bin/env python
"""How long until MLflow's pages show what a link promises? Comparisons of three sizes, in a headless Chromium.

    scripts/bench_browsing.py [--sizes 20,200,1000] [--repeats 3] [--json FILE] [--pictures FOLDER]

Each size is a real comparison of tiny networks on digits, 30 epochs, run with `xentlab compare` into a folder of its
own; then `xentlab ui` serves it, and every link that it prints is opened in a fresh browser context, with no cache. A
page is ready when what it is for is there: the names of the runs, the text of the verdict, the report's heading, or a
curve drawn for every loss. Seconds are medians over the repeats.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness

LOSSES = ("ce", "mse")
PATIENCE_MS = 120_000
FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
CURVES = """count => new Set([...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => plot.data)
    .filter(trace => trace.uuid && trace.y && trace.y.length > 1).map(trace => trace.uuid)).size >= count"""


def compare(size: int, folder: Path) -> float:
    """Run a comparison of `size` trials; returns its seconds."""
    rates, tuning = (2, 2) if size >= 40 else (2, 1)
    finals = (size - len(LOSSES) * rates * tuning) // len(LOSSES)
    command = [
        "compare", "comparison=quickstart", "comparison.losses=[ce,mse]",
        "comparison.tune.optimizer.lr=[0.1,0.3]", f"comparison.tuning_seeds={tuning}", "comparison.extensions=0",
        f"comparison.final_seeds={finals}", "trainer.epochs=30", "model.hidden=[8]", "executor=inline",
        "tracking.wait=600",
    ]  # fmt: skip
    return harness.seconds(lambda: harness.call(command, folder))


@contextmanager
def served(root: Path) -> Iterator[dict[str, str]]:
    """The links that `xentlab ui` prints, by what they show, while it serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "xentlab", "ui", "--root", str(root), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        links = {}
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                break
            url, _, shows = line.rstrip("\n").partition("  ")
            links[shows] = url
        try:
            yield links
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def ready(page: Any, shows: str) -> None:
    """Wait until the page shows what its link promised."""
    if shows.startswith("all comparisons"):
        page.get_by_role("link", name="quickstart", exact=True).first.wait_for()
    elif shows.startswith("every run"):
        page.get_by_text("matching runs").first.wait_for()
    elif shows.startswith("the comparison"):
        page.get_by_text("test error against ce").first.wait_for()
    elif shows.startswith("its report"):
        page.frame_locator("iframe").first.get_by_role("heading", name="quickstart").first.wait_for()
    elif shows.startswith("one row"):
        page.get_by_text(f"{len(LOSSES)} matching runs").wait_for()
    else:
        page.wait_for_function(CURVES, arg=1 if shows.startswith("one trial") else len(LOSSES))


def measure(browser: Any, links: dict[str, str], repeats: int, pictures: Path | None, size: int) -> dict[str, float]:
    """Seconds until each page is ready, medians."""
    taken: dict[str, float] = {}
    for number, (shows, url) in enumerate(links.items()):
        times = []
        for _ in range(repeats):
            context = browser.new_context(viewport={"width": 1800, "height": 1000})
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            began = time.monotonic()
            page.goto(url)
            ready(page, shows)
            times.append(time.monotonic() - began)
            if pictures is not None:
                page.wait_for_timeout(1000)
                page.screenshot(path=pictures / f"{size}-{number}.png")
            context.close()
        name = shows.partition(":")[0].partition(",")[0].replace(" by loss", "")
        taken[name] = statistics.median(times)
    return taken


def main(arguments: Sequence[str] | None = None) -> int:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--sizes", default="20,200,1000", help="numbers of trials (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each page (default: %(default)s)")
    parser.add_argument("--pictures", metavar="FOLDER", help="write a picture of each page here")
    options = parser.parse_args(arguments)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("bench_browsing: playwright is not installed: pip install 'xentlab[test]'", file=sys.stderr)
        return 2
    if chromium is None:
        print("bench_browsing: no Chromium on the path (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    pictures = Path(options.pictures) if options.pictures else None
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    found: dict[int, dict[str, float]] = {}
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            seconds = compare(size, Path(folder))
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            began = time.monotonic()
            with served(Path(folder) / "xentlab-runs") as links:
                found[size] = {"links printed after": time.monotonic() - began}
                found[size] |= measure(browser, links, options.repeats, pictures, size)
            browser.close()
            print(f"{size} trials, compared in {seconds:.0f} s", file=sys.stderr)
    names = dict.fromkeys(name for times in found.values() for name in times)
    rows = [[name, *(harness.number(times.get(name), ".1f") for times in found.values())] for name in names]
    heads = ["page", *(f"{size:,} trials" for size in found)]
    harness.show("seconds until a page is ready", heads, rows, left=("page",))
    harness.write(options, {"seconds": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())

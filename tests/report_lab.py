"""Records of a comparison as tests lay them out, one with hostile texts, and a reader of pages."""

from __future__ import annotations

import html.parser

import numpy as np

from xentlab import analysis
from xentlab.report.record import Record
from xentlab.typed import to_json

LOSSES = ["ce", "mse", "focal", "bce", "unstable"]


def example(names=LOSSES, *, seeds=10):
    """A record as a comparison would make it, from drawn numbers: mse is worse, unstable often fails."""
    generator = np.random.default_rng(0)
    by_seed = generator.normal(0, 0.002, seeds)
    shift = {"mse": 0.008, "focal": 0.0003, "bce": -0.0001, "unstable": 0.004}

    def draw(base, scale):
        table = {}
        for name in names:
            values = base + by_seed + scale * shift.get(name, 0.0) + generator.normal(0, 0.0011, seeds)
            failed = name == "unstable"
            table[name] = {10 + s: None if failed and s < 4 else float(v) for s, v in enumerate(values)}
        return table

    def metric(key, label, base, scale, *, primary=False, percent=False, margin=None):
        rows = analysis.judge(draw(base, scale), baseline=names[0], direction="min", margin=margin)
        return {
            "key": key,
            "label": label,
            "direction": "min",
            "primary": primary,
            "percent": percent,
            "margin": margin,
            "rows": [to_json(row) for row in rows],
        }

    epochs = list(range(1, 13))
    curves = {}
    for place, name in enumerate(names):
        drawn = 0.03 + 0.3 * np.exp(-np.array(epochs) / (2 + place / 2)) + generator.normal(0, 0.004, (seeds, 12))
        band = analysis.band(drawn)
        curves[name] = {
            "epochs": epochs,
            "mean": band.mean.tolist(),
            "low": band.low.tolist(),
            "high": band.high.tolist(),
            "count": band.count.tolist(),
        }
    times = {
        name: {s: 3.0 + s % 4 + k if k < 4 or s < 3 else None for s in range(seeds)} for k, name in enumerate(names)
    }
    target_rows = [to_json(row) for row in analysis.time_to_target(times, horizon=12)]
    rates = [0.01, 0.03, 0.1, 0.3, 1.0]
    return {
        "name": "mnist",
        "question": "Does it matter which loss a small network on MNIST is trained with?",
        "command": "xentlab compare comparison=mnist",
        "created": "2026-11-20T12:00:00+00:00",
        "baseline": names[0],
        "losses": [
            {
                "name": name,
                "label": name,
                "knobs": {"lr": 0.1, **({"gamma": 2.0} if name == "focal" else {})},
                "on_edge": name == "unstable",
                "note": "",
                "tuning": [
                    {
                        "lr": rate,
                        "value": None if rate == 1.0 and k > 1 else 0.03 + 0.02 * abs(np.log10(rate) + 1) + 0.002 * k,
                        "n": 0 if rate == 1.0 and k > 1 else 3,
                        "chosen": rate == 0.1,
                    }
                    for rate in rates
                ],
            }
            for k, name in enumerate(names)
        ],
        "metrics": [
            metric("test/error", "test error", 0.031, 1.0, primary=True, percent=True, margin=0.003),
            metric("test/nll", "NLL", 0.11, 2.0),
            metric("test/ece", "ECE", 0.02, 0.0, percent=True, margin=0.003),
        ],
        "setup": {"dataset": "mnist, 60,000 training images", "model": "mlp 784-100-10", "more": {"note": "by hand"}},
        "environment": {"packages": {"torch": "2.15.0"}, "processor": "CPU", "cores": 2, "commit": "0123abc"},
        "signature": "ab" * 32,
        "fingerprint": "cd" * 32,
        "curves": {"val/error": curves, "val/nll": {names[0]: curves[names[0]]}},
        "time_to_target": [
            {
                "metric": "val/error",
                "label": "validation error at most",
                "target": 0.05,
                "horizon": 12,
                "percent": True,
                "rows": target_rows,
            }
        ],
        "cost": [
            {"loss": name, "ms_per_step": 0.41 + k / 100, "seconds": 3.2, "peak_mb": None}
            for k, name in enumerate(names)
        ],
    }


class Outline(html.parser.HTMLParser):
    """Every tag with its attributes, the text outside of pictures, and a check that tags nest."""

    VOID = ("meta", "br", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.text.append(data)


HOSTILE = "<script>alert(1)</script>--><img src=x onerror=y>$\\frac{a}{b}$ & \"quoted\" 'single' | `tick` 損失"


def hostile():
    data = example(["ce", "mse"])
    data.update(name=HOSTILE, question=HOSTILE, command=HOSTILE, created=HOSTILE, signature=HOSTILE)
    data["losses"][1].update(label=HOSTILE, note=HOSTILE, knobs={HOSTILE: HOSTILE})
    data["metrics"][0]["short"] = HOSTILE
    data["setup"] = data["environment"] = {"more": {HOSTILE: HOSTILE}}
    data["time_to_target"][0]["label"] = HOSTILE
    for metric in data["metrics"]:
        metric["label"] = HOSTILE
        metric["rows"][1]["note"] = HOSTILE
    return Record.from_json(data)

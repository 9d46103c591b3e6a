"""CSV: one row for each loss and metric of each cell, with every seed's own value, as numbers without units."""

from __future__ import annotations

import csv
import io

from xentlab.plain import one_line
from xentlab.report.record import Record
from xentlab.report.study import Study, StudyCell

_NUMBERS = ("mean", "sd", "low", "high", "n", "failed", "difference", "diff_low", "diff_high", "p", "p_holm")


def rows_of(record: Record | Study) -> str:
    """The whole file; seeds are columns, empty where one failed or was not run."""
    cells = record.cells if isinstance(record, Study) else [StudyCell("", record)]
    rows = [(c, metric, row) for c in cells for metric in c.record.metrics for row in metric.rows]
    seeds = sorted({seed for *_, row in rows for seed in row.values})
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["cell", "dataset", "model", "metric", "loss", "verdict", *_NUMBERS, *(f"seed {s}" for s in seeds)])
    for cell, metric, row in rows:
        of = cell.record.setup
        words = [cell.label, of.dataset, of.model, metric.key, cell.record.labels[row.loss], row.verdict]
        numbers = [getattr(row, name) for name in _NUMBERS]
        out.writerow([*map(one_line, words), *numbers, *(row.values.get(seed) for seed in seeds)])
    return text.getvalue()

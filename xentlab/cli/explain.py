"""`xentlab explain`: a distribution, labels or a text, counted."""

from __future__ import annotations

import math

from rich.table import Table

from xentlab import codes, information
from xentlab.cli.console import console, titled
from xentlab.errors import UserError


def print_account(
    distribution: str | None,
    against: str | None,
    base: float | None,
    text: str | None,
    *,
    logits: bool,
    counts: bool,
    onehot: int | None,
    multilabel: str | None,
) -> int:
    """Print the information-theoretic account of one distribution, or of one against another, or of a text."""
    if text is not None:
        for knob, given in (("a distribution", distribution), ("--against", against), ("--base", base)):
            if given is not None:
                raise UserError(f"--text must stand without {knob}, got {given}.")
        return _print_text(text)
    if distribution is None:
        raise UserError("explain must be given a distribution such as 0.7,0.2,0.1, or --text FILE.")
    if logits and counts:
        raise UserError("explain must be given --logits or --counts, not both.")
    if multilabel is not None:
        return _print_labels(distribution, multilabel, math.e if base is None else base, logits=logits)

    def read(numbers: str) -> information.Vector:
        if logits:
            return information.softmax(information.parse_numbers(numbers))
        if counts:
            seen = information.parse_numbers(numbers)
            if min(seen) < 0 or not 0 < sum(seen) < math.inf:
                raise UserError(f"--counts must be >= 0 and not all 0, got {numbers}.")
            return information.parse_distribution(",".join(str(n / sum(seen)) for n in seen))
        return information.parse_distribution(numbers)

    p, q = read(distribution), read(against) if against is not None else None
    if onehot is not None:
        if q is not None or not 0 <= onehot < len(p):
            raise UserError(f"--onehot must be an outcome in [0, {len(p) - 1}], without --against, got {onehot}.")
        p, q = information.parse_distribution(",".join(str(float(i == onehot)) for i in range(len(p)))), p
    account = information.explain(p, q, base=math.e if base is None else base)
    table = Table(title=f"in {account.unit}", title_justify="left", show_footer=True)
    columns = [("outcome", "total"), ("p", "1"), ("-log p", ""), ("-p log p", f"H(p) = {account.entropy:.4f}")]
    if q is not None:
        columns += [("q", "1"), ("-log q", ""), ("-p log q", f"H(p, q) = {account.cross_entropy:.4f}")]
        columns += [("p log p/q", f"KL(p||q) = {account.kl_divergence:.4f}")]
    for name, footer in columns:
        table.add_column(name, footer=footer, justify="right")
    for row in account.rows:
        cells: list[float | None] = [row.p, row.information, row.entropy]
        if q is not None:
            cells += [row.q, row.q_information, row.cross_entropy, row.kl_divergence]
        table.add_row(str(row.outcome), *("" if c is None else f"{c:.4f}" for c in cells))
    page = console()
    page.print(table)
    if q is not None:
        page.print("H(p, q) = H(p) + KL(p || q): what it costs to expect q where p is true.")
    return 0


def _print_labels(words: str, targets: str, base: float, *, logits: bool) -> int:
    """The binary cross-entropy of labels that do not exclude each other, label by label."""
    numbers, truth = information.parse_numbers(words), information.parse_numbers(targets)
    probs = information.sigmoid(numbers) if logits else numbers
    total = information.binary_cross_entropy(truth, probs, base=base)
    table = Table(title="labels that do not exclude each other", title_justify="left", show_footer=True)
    for name, footer in (("label", "total"), ("target", ""), ("p", ""), ("-log of the truth", f"{total:.4f}")):
        table.add_column(name, footer=footer, justify="right")
    for number, (y, p) in enumerate(zip(truth, probs, strict=True)):
        own = information.binary_cross_entropy([y], [p], base=base)
        table.add_row(str(number), f"{y:g}", f"{p:.4f}", f"{own:.4f}")
    console().print(table)
    return 0


_FREQUENT = 10


def _print_text(path: str) -> int:
    """The characters of a text with their information, its entropies, and what compressors make of it."""
    import numpy as np

    from xentlab.data.texts import read_corpus

    text = read_corpus(path, "--text")
    known, symbols, counts = np.unique(list(text), return_inverse=True, return_counts=True)
    told = information.explain(counts / len(text), base=2)
    title = f"{len(text):,} characters, {len(known)} different, {len(text.encode()):,} bytes"
    heads = ("character", "times", "p", "information, bits", "share of the entropy, bits")
    table = titled(f"{title}; the most frequent", heads, left=())
    for place in np.argsort(-counts, kind="stable")[:_FREQUENT]:
        row = told.rows[place]
        cells = (f"{value:.4f}" for value in (row.p, row.information, row.entropy))
        table.add_row(repr(str(known[place])), f"{counts[place]:,}", *cells)
    lines = titled("bits per character", ("what", "bits"), left=["what"])
    lines.add_row("all characters alike", f"{math.log2(len(known)):.4f}")
    for order, bits in enumerate(codes.entropies(symbols.reshape(-1), min(4, len(text)))):
        lines.add_row(f"entropy of order {order}: given the {order} before", f"{bits:.4f}")
    for name, count in codes.compressed_bits(text.encode()).items():
        lines.add_row(f"code length, {name}", f"{count / len(text):.4f}")
    page = console()
    page.print(table, lines)
    note = "Entropies are of the text's own counts: with long contexts they say how short it is, not how regular."
    page.print(note)
    return 0

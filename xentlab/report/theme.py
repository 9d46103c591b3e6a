"""How everything looks: one colour, line and marker per loss, and the page's style in light and dark.

The colours are Okabe and Ito's, which stay apart under the common kinds of colour blindness, ordered so that the ones
with the most contrast come first; the seventh (yellow) is darkened on a light page and the first lightened on a dark
one. Line style and marker repeat the distinction for those who see no colour.

Pictures are drawn in marker colours (`INK`, `GRID`, `series`) that the page replaces with CSS variables, so that one
SVG serves both themes.

Reference:
    Okabe and Ito, Color universal design, 2008.
"""

from __future__ import annotations

from typing import Any

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#f0e442", "#000000")
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#c98500", "#c0629a", "#3a9bd4", "#a59a00", "#444444")
DARK = ("#4a9fe0", "#ee7a2b", "#1fbf92", "#e6a81e", "#d98bb5", "#8fd0f5", "#f0e442", "#c9c9c9")
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

INK, GRID, ZONE = "#010203", "#040506", "#070809"


def colour(index: int) -> str:
    """The colour of the loss at `index` in the record's order, for pictures that stand alone."""
    return PALETTE[index % len(PALETTE)]


def series(index: int) -> str:
    """The colour by which a picture for the page stands for the loss at `index`."""
    return f"#a0b0{index % len(PALETTE):02x}"


def dashes(index: int) -> Any:
    """The line style of the loss at `index`; it changes with every loss, and lasts longer than the colours."""
    return DASHES[index % len(DASHES)]


def marker(index: int) -> str:
    """The marker of the loss at `index`."""
    return MARKERS[index % len(MARKERS)]


def themed(svg: str) -> str:
    """The picture with its marker colours replaced by the page's variables."""
    for index in range(len(PALETTE)):
        svg = svg.replace(series(index), f"var(--s{index})")
    return svg.replace(INK, "currentColor").replace(GRID, "var(--line)").replace(ZONE, "var(--zone)")


def _variables(colours: tuple[str, ...]) -> str:
    return "".join(f"--s{k}:{c};" for k, c in enumerate(colours))


CSS = (
    """:root{color-scheme:light dark;--page:#fff;--ink:#1b1d21;--soft:#5c626b;--line:#dcdfe4;--card:#f6f7f9;
--zone:#8a919c;--mark:#fff3c4;--good:#00694c;--bad:#a63c00;--same:#005a8d;--open:#5c626b;%LIGHT%}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--ink:#e7e9ec;--soft:#a3aab4;--line:#343941;--card:#1d2026;
--zone:#79818d;--mark:#4a4014;--good:#3fd0a4;--bad:#ff9a5c;--same:#77bff0;--open:#a3aab4;%DARK%}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","DejaVu Sans",sans-serif;overflow-wrap:break-word}
main{max-width:1120px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.7rem;line-height:1.2;margin:.2em 0 .1em}
h2{font-size:1.25rem;margin:2.4em 0 .5em;padding-top:.6em;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.4em 0 .4em}
p{margin:.5em 0}
.soft,.note,figcaption{color:var(--soft);font-size:.875rem}
.question{font-size:1.1rem;color:var(--soft);margin:0 0 1em}
.sentences{list-style:none;margin:1em 0;padding:0}
.sentences li{padding:.55em .9em;margin:.4em 0;background:var(--card);border-radius:4px;
border-left:4px solid var(--open)}
.sentences li.better{border-color:var(--good)}.sentences li.worse{border-color:var(--bad)}
.sentences li.equivalent{border-color:var(--same)}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px;margin:.6em 0}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.4em .7em;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td,tr:last-child th{border-bottom:0}
thead th{color:var(--soft);font-weight:600;background:var(--card);white-space:normal;vertical-align:bottom}
tbody th{font-weight:600;position:sticky;left:0;background:var(--page)}
thead th:first-child{position:sticky;left:0}
td.wrap{white-space:normal;min-width:16em}
td.best{background:var(--mark);font-weight:700}
td.better{color:var(--good);font-weight:600}td.worse{color:var(--bad);font-weight:600}
td.equivalent{color:var(--same);font-weight:600}td.inconclusive,td.baseline{color:var(--open)}
td.heat{background:color-mix(in srgb,var(--bad) calc(var(--heat)*.45),transparent)}
td.heat.best{box-shadow:inset 0 0 0 2px var(--good)}
.small .charts{grid-template-columns:repeat(auto-fill,minmax(min(100%,200px),1fr))}.small figure{max-width:250px}
.examples td{padding:.25em}.examples table{width:auto}.examples img{display:block;
width:clamp(92px,9vw,150px);height:auto;image-rendering:pixelated}
.classes i{display:inline-block;width:1em;height:1em;border-radius:3px;border:1px solid var(--line)}
.facts th{width:1%}.facts td{white-space:normal;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px;margin:.8em 0}
figure{margin:0;max-width:520px}
figure svg{display:block;width:100%;height:auto}
figure svg text{font-family:inherit!important}
figcaption{margin-top:.2em}
.legend{display:flex;flex-wrap:wrap;gap:.3em 1.1em;font-size:.875rem;margin:.6em 0}
.legend span{display:inline-flex;align-items:center;gap:.4em}
.legend svg{width:34px;height:12px}
summary{cursor:pointer;padding:.35em 0;color:var(--soft);font-size:.9rem}
summary:hover,summary:focus-visible{color:var(--ink)}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.7em .9em;white-space:pre-wrap;
overflow-wrap:anywhere;font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.cells{padding-left:1.2em}.cells a{color:inherit}
.cell>div{scroll-margin-top:3em}.cell{margin-top:2em}.cell>summary{font-size:1.15rem;font-weight:600;color:var(--ink)}
@media (max-width:560px){.facts tr,.facts th,.facts td{display:block;border:0;width:auto}
.facts th{white-space:normal;padding-bottom:0;position:static;color:var(--soft)}
.facts td{padding-top:0;border-bottom:1px solid var(--line)}}
@media print{.scroll{overflow:visible}details>*{display:block}}
""".replace("%LIGHT%", _variables(LIGHT))
    .replace("%DARK%", _variables(DARK))
    .replace("\n", "")
)

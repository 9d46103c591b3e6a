"""ARFF as people write it, over forty files: each is read whole and said, or refused in a sentence; none in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from xentlab.data import tabular
from xentlab.errors import UserError

ROWS = [(f"{i * 0.5:.1f}", f"{(i * 7) % 11}", "yes" if i % 2 else "no") for i in range(20)]
HEAD = "@relation t\n@attribute a numeric\n@attribute b real\n@attribute class {yes,no}\n@data\n"


def body(sep: str = ",", form: str = "{0}|{1}|{2}") -> str:
    return "".join(form.format(*row).replace("|", sep) + "\n" for row in ROWS)


READ: dict[str, tuple[str | bytes, str]] = {
    "upper": (HEAD.upper().replace("YES,NO", "yes,no") + body(), "target CLASS"),
    "integer": (HEAD.replace("numeric", "integer") + body(), "2 columns of numbers"),
    "meka": (HEAD.replace("@relation t", "@relation 'my data: -C 1'") + body(), "left out, since the file names them"),
    "no relation": (HEAD.replace("@relation t\n", "") + body(), "2 columns of numbers"),
    "comments": (HEAD.replace("numeric", "numeric % c") + "% c\n" + body() + "% end\n", "20 rows"),
    "carriage returns": ((HEAD + body()).replace("\n", "\r"), "20 rows"),
    "tabs in the header": (HEAD.replace("@attribute a ", "@attribute\ta\t") + body(), "2 columns of numbers"),
    "tabs": (HEAD + body("\t"), "2 columns of numbers"),
    "blanks": (HEAD + body(" "), "2 columns of numbers"),
    "quoted words": (HEAD.replace("{yes,no}", "{'yes','no'}") + body(form="{0}|{1}|'{2}'"), "yes 10, no 10"),
    "escaped quote": (HEAD.replace("@attribute a", "@attribute 'a\\'b'") + body(), "2 columns of numbers"),
    "a sign of comments in a name": (HEAD.replace("@attribute a", '@attribute "a % b"') + body(), "2 columns"),
    "no blank before braces": (HEAD.replace("class {yes", "class{yes") + body(), "yes 10, no 10"),
    "blanks in braces": (HEAD.replace("{yes,no}", "{ yes , no }") + body(), "yes 10, no 10"),
    "sparse": (HEAD + body(form="{{0 {0}, 1 {1}, 2 {2}}}"), "20 rows"),
    "sparse and empty": (HEAD + body(form="{{0 {0}, 2 {2}}}") + "{}\n", "column b is constant"),
    "weights": (HEAD + body(form="{0},{1},{2}, {{2}}"), "instance weights of 20 rows are not used"),
    "dates": (HEAD.replace("b real", 'b date "yyyy"') + body(form="{0}|2020|{2}"), "b (date)"),
    "strings": (HEAD.replace("b real", "b string") + body(form="{0}|'text'|{2}"), "b (string)"),
    "trailing commas": (HEAD + body(form="{0}|{1}|{2},"), "20 rows"),
    "bom": ("\ufeff" + HEAD + body(), "20 rows"),
    "latin-1": ((HEAD + body()).replace("yes", "s\u00fc\u00df").encode("latin-1"), "read as Latin-1"),
    "utf-16": ((HEAD + body()).encode("utf-16"), "read as UTF-16"),
    "range": (HEAD.replace("b real", "b real [0,11]") + body(), "20 rows"),
    "thousands": (HEAD + '"1,200",2,yes\n' + body(), "commas separate thousands"),
    "words with blanks": ((HEAD.replace("yes", "'yes sir'") + body().replace("yes", "'yes sir'")), "yes sir 10"),
}
REFUSED = {
    "braces over lines": (HEAD.replace("{yes,no}", "{yes,\nno}") + body(), "line 4, must declare a number or a list"),
    "missing value": (HEAD + "?,3,yes\n" + body(), "dataset.impute="),
    "missing class": (HEAD + "1,3,?\n" + body(), "in every row of column 'class', found 1 missing"),
    "another word": (HEAD + "1,2,maybe\n" + body(), "one of yes, no, found 'maybe'"),
    "another case": (HEAD + "1,2,YES\n" + body(), "one of yes, no, found 'YES'"),
    "too many": (HEAD + "1,2,3,yes\n" + body(), "line 6, must hold 3 values, found 4"),
    "too few": (HEAD + "1,yes\n" + body(), "line 6, must hold 3 values, found 2"),
    "zero byte": (HEAD + body() + "\0\n", "must be text, found a zero byte"),
    "infinite": (HEAD + "inf,2,yes\n" + body(), "row 1 is infinite, inf"),
    "too large": (HEAD + "1e39,2,yes\n" + body(), "row 1 lies beyond float32"),
    "decimal comma": (HEAD + body().replace(".", ","), "must hold 3 values, found 4"),
    "no rows": (HEAD, "must hold rows after a line @data"),
    "no data line": (HEAD.replace("@data\n", "") + body(), "must begin with @relation, @attribute or @data"),
    "empty": ("", "must hold rows after a line @data"),
    "hexadecimal": (HEAD + "0x1F,2,yes\n" + body(), "row 1 holds '0x1F'"),
    "currency": (HEAD + "$1,2,yes\n" + body(), "a currency sign"),
    "one name twice": (HEAD.replace("@attribute b", "@attribute a") + body(), "different names, found a"),
    "semicolons": (HEAD + body(";"), "must hold 3 values, found 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(READ))
def test_a_dialect_is_read_and_said(tmp_path: Path, name: str) -> None:
    text, said = READ[name]
    (tmp_path / "t.arff").write_bytes(text if isinstance(text, bytes) else text.encode())
    data = tabular(path=str(tmp_path / "t.arff"))
    assert len(data.inputs) in (20, 21)
    assert len(data.class_names) == 2
    assert said in "; ".join(data.notes)


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_meant_is_refused(tmp_path: Path, name: str) -> None:
    text, said = REFUSED[name]
    (tmp_path / "t.arff").write_text(text)
    with pytest.raises(UserError) as refused:
        tabular(path=str(tmp_path / "t.arff"))
    assert said in str(refused.value)
    assert str(refused.value).count("\n") == 0

"""Tables as people have them: what is recognised is said, what cannot be told is refused, nothing is guessed silently.

Each row stands for a kind, in the shape of files that were misread before.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from xentlab import data
from xentlab.errors import UserError

EIGHT = "".join(f"{i},{i % 2}\n" for i in range(8))
ARFF = "@relation r\n@attribute a numeric\n@attribute cls {p,q}\n@data\n"

# file name, its text, knobs, inputs without standardising, classes, and words that the notes must hold
READ = [
    # separators, decimal commas, thousands
    ("a.csv", "a\tb\ty\n1\t2\tp\n3\t4\tq\n", {}, [[1, 2], [3, 4]], "pq", "separated by tabs"),
    ("a.txt", " 1.5  2 p\n 3   4 q\n", {}, [[1.5, 2], [3, 4]], "pq", "separated by blanks"),
    ("a.data", "1|2|p\n3|4|q\n", {}, [[1, 2], [3, 4]], "pq", "separated by bars"),
    ("a.csv", "a;b;y\n9,8;3,15;p\n10,9;3,35;q\n", {}, [[9.8, 3.15], [10.9, 3.35]], "pq", "decimal commas, as in 9,8"),
    ("a.csv", "a;y\n1,250;p\n3,5;q\n", {}, [[1.25], [3.5]], "pq", "decimal commas"),
    ("a.csv", "a;y\n1.234,5;p\n3,5;q\n", {}, [[1234.5], [3.5]], "pq", "decimal commas, as in 1.234,5"),
    ("a.csv", "a;y\n1,250;p\n3,500;q\n", {"decimal": ","}, [[1.25], [3.5]], "pq", "decimal commas"),
    ("a.csv", "a;y\n1,250;p\n3,500;q\n", {"decimal": "."}, [[1250], [3500]], "pq", "commas separate thousands"),
    ("a.csv", 'a,b,y\n"1,200",2,p\n"3,100",4,q\n', {}, [[1200, 2], [3100, 4]], "pq", "thousands, as in 1,200"),
    ("a.csv", 'a,y\n"1,234,567.5",p\n2,q\n', {}, [[1234567.5], [2]], "pq", "thousands, as in 1,234,567.5"),
    # headers
    ("a.csv", "5.1,3.5,s\n4.9,3.0,s\n6.0,2.9,v\n", {}, [[5.1, 3.5], [4.9, 3.0], [6.0, 2.9]], "sv", "no header"),
    ("a.csv", "1,s\n2,v\n", {"header": True}, None, "v", "refused: at least two classes"),
    ("a.csv", ",a,y\n0,5,p\n1,7,q\n", {}, [[5], [7]], "pq", "the first column has no name and counts the rows"),
    ("a.csv", "a,y,\n1,p,\n2,q,\n", {}, [[1], [2]], "pq", "1 empty column without a name left out"),
    # labels as spelled
    ("a.csv", "a,y\n1,01\n2,1\n3,02\n", {}, [[1], [2], [3]], ("01", "1", "02"), "3 classes: 01 1, 1 1, 02 1"),
    ("a.csv", "a,y\n1,12345678901234567891\n2,12345678901234567892\n", {}, [[1], [2]],
     ("12345678901234567891", "12345678901234567892"), "2 classes"),
    ("a.csv", "a,y\n1,-1\n2,1\n", {}, [[1], [2]], ("-1", "1"), "2 classes: -1 1, 1 1"),
    ("a.csv", "a,y\n1,True\n2,False\n", {}, [[1], [2]], ("False", "True"), "2 classes"),
    ("a.csv", "a,y\n1,10\n2,9\n", {}, [[1], [2]], ("9", "10"), "target y"),
    # words, booleans, dates, missing
    ("a.csv", "a,y\nyes,p\nNo,q\n", {}, [[1], [0]], "pq", "column a: no is 0, yes is 1"),
    ("a.csv", "a,y\nTRUE,p\nFALSE,q\n", {}, [[1], [0]], "pq", "false is 0, true is 1"),
    ("a.csv", "a,y\n1970-01-02,p\n1970-01-03 12:00,q\n", {}, [[1], [2.5]], "pq", "dates, taken as days since 1970"),
    ("a.csv", "a,y\n1,p\n2,q\n", {"categorical": ("a",)}, [[1, 0], [0, 1]], "pq", "1 columns of words"),
    ("a.csv", "a,y\n1,p\n-,q\n3,q\n", {"impute": "drop"}, [[1], [3]], "pq", "- stands for a missing number"),
    ("a.csv", "a,b,y\n1,u,p\nNA,,q\n3,v,q\n", {"impute": "mean"}, [[1, 1, 0, 0], [np.nan, 0, 0, 1], [3, 0, 1, 0]],
     "pq", "1 rows have a missing value: impute=mean"),
    # columns that are no features
    ("a.csv", "id,a,y\n7,5,p\n9,7,q\n", {}, [[7, 5], [9, 7]], "pq", "column id is different in every row"),
    ("a.csv", "id,a,y\n7,5,p\n9,7,q\n", {"drop": ("id",)}, [[5], [7]], "pq", "left out as asked: id"),
    ("a.csv", "a,y2,y\n5,p,p\n7,q,q\n", {}, [[5], [7]], "pq", "copies of the target: y2"),
    ("a.csv", "a,c,y\n5,1,p\n7,1,q\n", {}, [[5, 1], [7, 1]], "pq", "column c is constant"),
    ("a.csv", "customer_id,a,y\n7,5,p\n9,7,q\n", {}, [[7, 5], [9, 7]], "pq", "customer_id is different in every row"),
    ("a.csv", "g,y\n" + "".join(f"{i},{'pq'[i % 2]}\n" for i in range(20)), {}, [[i] for i in range(20)], "pq",
     "column g counts the rows"),
    # what stands around a table, as spreadsheets write it
    ("a.csv", "Report 2021\n\na,b,y\n1,2,p\n,,\n3,4,q\nSource: x,,\n", {}, [[1, 2], [3, 4]], "pq",
     "above or below the table left out: Report 2021, Source: x"),
    ("a.csv", "a,b,y\n1,2,p\n,,\n3,4,q\n", {}, [[1, 2], [3, 4]], "pq", "1 empty rows left out"),
    ("a.csv", "b,2019,2020,y\n1,2,3,p\n3,4,5,q\n", {}, [[1, 2, 3], [3, 4, 5]], "pq", "the first row holds names, 2019"),
    ("a.csv", "a,y\n1,p,\n2,q,\n", {}, [[1], [2]], "pq", "1 empty column without a name left out"),
    ("a.csv", "a,b,y\r1,2,p\r3,4,q\r", {}, [[1, 2], [3, 4]], "pq", "2 rows"),
    # numbers that may mean something else, and their spellings
    ("a.csv", "a,y\n(5),p\n7,q\n", {}, [[-5], [7]], "pq", "parentheses stand for a minus sign"),
    ("a.csv", 'a,y\n"($1,200)",p\n"$7",q\n', {}, [[-1200], [7]], "pq", "$ stands by every number"),
    ("a.csv", "a,y\n5-,p\n7,q\n", {}, [[-5], [7]], "pq", "minus signs stand behind"),
    ("a.csv", 'a,y\n"1,23,400",p\n7,q\n', {}, [[123400], [7]], "pq", "commas separate lakhs"),
    ("a.csv", "a,y\n１２,p\n7,q\n", {}, [[12], [7]], "pq", "digits are wide"),
    ("a.csv", "a,y\n-999,p\n7,q\n8,q\n", {}, [[-999], [7], [8]], "pq", "-999 in 1 rows may stand for a missing number"),
    ("a.csv", "a,y\n007,p\n8,q\n", {}, [[7], [8]], "pq", "zeros stand before numbers, as in 007"),
    ("a.csv", "a,y\n20210131,p\n20210201,q\n", {}, [[20210131], [20210201]], "pq", "numbers that may be dates"),
    ("a.csv", "a,y\n100000000000000001,p\n1,q\n", {}, [[1e17], [1]], "pq", "17 digits or more"),
    ("a.csv", "a,y\n02.01.1970,p\n13.01.1970,q\n", {}, [[1], [12]], "pq", "dates written %d.%m.%Y"),
    ("a.csv", "a,y\n1/2/1970,p\n1/13/1970 ,q\n", {}, [[1], [12]], "pq", "dates written %m/%d/%Y"),
    ("a.csv", "a,y\n2 January 1970,p\n13 January 1970,q\n", {}, [[1], [12]], "pq", "dates written %d %B %Y"),
    ("a.csv", "a,y\n1,p\n2,\n3,q\n", {"impute": "drop"}, [[1], [3]], "pq", "1 rows without a target left out"),
    # encodings
    ("a.csv", "a,y\n1,stra\xdfe\n2,weg\n".encode("latin-1"), {}, [[1], [2]], ("straße", "weg"), "words such as straße"),
    ("a.csv", "a,y\n1,p\n2,q\n".encode("utf-16"), {}, [[1], [2]], "pq", "read as UTF-16"),
    ("a.csv.gz", gzip.compress(b"a,y\n1,p\n2,q\n"), {}, [[1], [2]], "pq", "2 rows"),
    ("a.dat", ARFF + "1,p\n2,q\n", {}, [[1], [2]], "pq", "2 rows"),
    # ARFF as Weka, Mulan and MEKA write it
    ("a.arff", ARFF.replace("attribute a", r"attribute m\'u") + "1,p\n2,q\n", {}, [[1], [2]], "pq", "2 rows"),
    ("a.arff", ARFF + "{0 1,1 q}, {2}\n{0 2}\n", {}, [[1], [2]], "pq", "instance weights of 1 rows"),
    ("a.arff", ARFF.replace("@attribute a", "@attribute s string\n@attribute d date 'yyyy'\n@attribute a")
     + "'it, is',1999,1,p\n\"x\",2000,2,q\n", {}, [[1], [2]], "pq", "neither number nor list of words: s (string), d"),
    ("a.arff", ARFF.replace("{p,q}", "{'a b', \"it's\"}") + "1,'a b'\n2,\"it's\"\n", {}, [[1], [2]],
     ("a b", "it's"), ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "knobs", "inputs", "classes", "words"),
    READ,
    ids=[f"{number} {row[0]} {row[-1]}" for number, row in enumerate(READ)],
)
def test_a_table_is_read_by_a_stated_rule(
    tmp_path: Path, name: str, text: str | bytes, knobs: dict[str, object], inputs: object, classes: object, words: str
) -> None:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    if words.startswith("refused: "):
        with pytest.raises(UserError, match=words.removeprefix("refused: ")):
            data.tabular(path=str(file), **knobs)  # type: ignore[arg-type]
        return
    read = data.tabular(path=str(file), standardize=False, **knobs)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read.inputs.numpy(), np.asarray(inputs, dtype=np.float32))
    expected = tuple(classes)  # type: ignore[arg-type]
    assert read.class_names == expected
    assert any(words in note for note in read.notes), read.notes


@pytest.mark.parametrize(
    ("text", "knobs", "words"),
    [
        ("a;y\n1,250;p\n3,500;q\n", {}, "must say whether 1,250 has decimals or thousands: dataset.decimal"),
        ("a,y\n1,p\n2,q\n3.5.1,q\n", {}, "row 3 holds '3.5.1' (two decimal points)"),
        ("a,y\n1,p\n2,q\n12 kg,q\n", {}, "holds '12 kg' (a number with a unit). Mend the file"),
        ("a,y\n1,p\n2,q\n45%,q\n", {}, "(a percent sign)"),
        ("a,y\n1,p\n2,q\n<5,q\n", {}, "(a bound in a number's place)"),
        ("a,y\n1,p\n2,q\n$5,q\n", {}, "(a currency sign)"),
        ("a,y\n1,p\ninf,q\n", {}, "must hold finite numbers: row 2 is infinite, inf"),
        ("a,y\n1,p\n1e60,q\n", {}, "row 2 lies beyond float32 (3.4e38), 1e60"),
        (
            "a,y\n03/04/2021,p\n05/04/2021,q\n",
            {},
            "or dates such as 2026-04-03, found dates, such as 03/04/2021: write them so",
        ),
        ("a,y\n1,p\n2,p\n", {}, "must hold at least two classes, found p alone"),
        ("a,y\n" + "".join(f"{i},{99 - i}\n" for i in range(40)), {}, "found 40 different numbers in 40 rows"),
        ("a,y\n1,p\n2,\n", {}, "must hold a value in every row of column 'y'"),
        ("a,y\n1,p\n2,NA\n", {}, "the first in row 2 (NA): dataset.impute=drop leaves such rows out"),
        ("a,b,y\n1,,p\n2,,q\n", {}, "Column 'b' of"),
        (
            "a,y\n" + "".join(f"{i}k,{i % 2}\n{i}M,{i % 2}\n" for i in range(6)),
            {},
            "12 different ones with digits",
        ),
        ("a,y\n" + "".join(f"{'x' * i}w,{i % 2}\n" for i in range(21)), {}, "found 21 different ones in 21 rows"),
        ("a,y\n" + "".join(f"{i},{'x' * i}w\n" for i in range(31)), {}, "found 31 different words in 31 rows"),
        ("a,y\n2021-02-28,p\n2021-02-30,q\n", {}, "must hold dates that exist, found 2021-02-30."),
        ("a,y\n1,p\n2,q\n12O,q\n", {}, "(a letter in a digit's place)"),
        ("a,a,y\n1,2,p\n2,3,q\n", {}, "columns of different names, found a more than once"),
        ("a,y\n1,p\n2,q\n", {"drop": ("b",)}, "Unknown column of t.csv in dataset.drop 'b'"),
        ('a,y\n1,"p\n2,q\n', {}, "rows of one length, quoted well"),
        ("a,y\n1,2,p\n2,q\n", {}, "must hold rows of one length"),
        ("\0\0", {}, "must be text, found a zero byte"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_way_on(
    tmp_path: Path, text: str, knobs: dict[str, object], words: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        data.tabular(path=str(tmp_path / "t.csv"), **knobs)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_target_in_another_unit_is_named(tmp_path: Path) -> None:
    celsius = np.random.default_rng(0).normal(15, 8, 30).round(2)
    rows = "".join(f"{1.8 * c + 32:.2f},{i * i % 7},{c}\n" for i, c in enumerate(celsius))
    (tmp_path / "a.csv").write_text("fahrenheit,other,celsius\n" + rows)
    read = data.tabular(path=str(tmp_path / "a.csv"), task="regression")
    assert [note.partition(":")[0] for note in read.notes if "one line" in note] == [
        "column fahrenheit and the target celsius lie on one line"
    ]


def test_one_bad_byte_in_utf8_is_no_latin1(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a,y\n1,grün süß\n".encode() + b"2,gr\xfcn\n")
    with pytest.raises(UserError, match="it is UTF-8, but for a byte 0xfc in line 3"):
        data.tabular(path=str(tmp_path / "t.csv"))


def test_the_columns_of_a_test_file_may_stand_in_another_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,y\n1,2,p\n3,4,q\n")
    (tmp_path / "b.csv").write_text("b,a,y\n2,1,p\n6,5,p\n")
    read = data.tabular(path=str(tmp_path / "a.csv"), test_path=str(tmp_path / "b.csv"), standardize=False)
    assert read.inputs.tolist() == [[1, 2], [3, 4], [1, 2], [5, 6]]
    assert {"1 rows of b.csv stand in a.csv too", "not in the test file: q"} <= set(read.notes)
    assert "its own splits: train 2, test 2" in read.remarks


def test_parquet_with_a_gap_first_and_a_named_index(tmp_path: Path) -> None:
    dates = pandas.Series(
        [pandas.NaT, pandas.Timestamp("1970-01-02", tz="UTC"), pandas.Timestamp("1970-01-03", tz="UTC")]
    )
    frame = pandas.DataFrame({"d": dates, "y": ["p", "q", "p"]}).set_index(pandas.Index([5, 6, 8], name="k"))
    frame.to_parquet(tmp_path / "t.parquet")
    read = data.tabular(path=str(tmp_path / "t.parquet"), impute="drop", standardize=False)
    assert read.inputs.tolist() == [[6, 1], [8, 2]]


def test_a_sheet_is_read_as_its_text_twin(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    more = book.create_sheet("more")
    for row in (["Report"], [], ["a", None, "y"], [1, None, "p"], [], [2.5, None, "q"], ["Source: x"]):
        more.append(row)
    book.save(tmp_path / "t.xlsx")
    read = data.tabular(path=str(tmp_path / "t.xlsx"), standardize=False)
    assert read.inputs.tolist() == [[1], [2.5]]
    assert "sheet more read, passed over: Sheet" in read.notes


def test_train_and_test_files_of_mulan_share_one_list_of_labels(tmp_path: Path) -> None:
    head = "@relation song\n@attribute tempo numeric\n@attribute calm {0,1}\n@attribute sad {0,1}\n@data\n"
    (tmp_path / "song-train.arff").write_text(head + "1,1,0\n2,0,0\n3,1,1\n")
    (tmp_path / "song-test.arff").write_text(head + "4,0,1\n")
    (tmp_path / "song.xml").write_text('<labels><label name="calm"/><label name="sad"/></labels>')
    files = {"path": str(tmp_path / "song-train.arff"), "test_path": str(tmp_path / "song-test.arff")}
    read = data.tabular(**files, task="multilabel", standardize=False)
    assert read.class_names == ("calm", "sad")
    assert {part: index.tolist() for part, index in read.source_splits.items()} == {"train": [0, 1, 2], "test": [3]}
    assert "2 labels listed in song.xml" in read.notes
    one = data.tabular(path=files["path"], targets=("sad",), standardize=False)
    assert one.inputs.tolist() == [[1], [2], [3]], "a label that was not chosen is no feature"
    assert "left out, since the file names them as labels: calm" in one.notes


def test_meka_counts_its_labels_in_the_relations_name(tmp_path: Path) -> None:
    body = "@attribute l1 {0,1}\n@attribute l2 {0,1}\n@attribute a numeric\n@data\n1,0,5\n0,1,6\n"
    (tmp_path / "m.arff").write_text("@relation 'music: -C 2'\n" + body)
    read = data.tabular(path=str(tmp_path / "m.arff"), task="multilabel", standardize=False)
    assert read.class_names == ("l1", "l2")
    assert read.inputs.tolist() == [[5], [6]]


def test_labels_of_words_and_of_minus_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,u,v\n1,-1,yes\n2,1,no\n")
    read = data.tabular(path=str(tmp_path / "t.csv"), task="multilabel", num_targets=2)
    assert read.targets.tolist() == [[0, 1], [1, 0]]
    assert "labels: -1 is 0, no is 0, yes is 1" in read.notes


def test_a_class_that_only_the_test_file_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n1,p\n2,q\n")
    (tmp_path / "b.csv").write_text("a,y\n1,r\n")
    with pytest.raises(UserError, match=r"Class 'r' of 'y' must be in .*a.csv too, which has p, q"):
        data.tabular(path=str(tmp_path / "a.csv"), test_path=str(tmp_path / "b.csv"))


def test_parquet_says_what_its_text_twin_says(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, None, 2.5], "c": [True, False, True], "y": ["p", "q", "p"]})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    read = [data.tabular(path=str(tmp_path / name), impute="median") for name in ("t.parquet", "t.csv")]
    assert torch.equal(read[0].inputs.nan_to_num(-9), read[1].inputs.nan_to_num(-9))
    assert read[0].class_names == read[1].class_names
    assert read[0].impute == "median"


def test_what_was_read_is_said_once_and_recorded(run: Callable[..., tuple[int, str, str]], here: Path) -> None:
    rows = "".join(f"{i % 9},{i % 7};{'pq'[i % 2]}\n" for i in range(60))
    (here / "t.csv").write_text("a;y\n" + rows)
    small = ("dataset=tabular", "dataset.path=t.csv", "trainer.epochs=1", "tracking=off")
    said = (
        "xentlab: tabular: 60 rows, 1 columns of numbers; target y; separated by semicolons; column a: decimal commas"
    )
    for command in (("train", *small), ("compare", *small, "--dry-run")):
        code, _, errors = run(*command)
        assert code == 0
        assert errors.count(said) == 1
    journal = next((here / "xentlab-runs" / "journal").glob("*.jsonl")).read_text()
    assert '"data": "60 rows, 1 columns of numbers; target y; separated by semicolons' in journal

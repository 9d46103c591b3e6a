"""Tables in the shape of what people really have: each is read rightly and said, or refused in one sentence.

Made by hand after public files and questions about them, as are the folders in `test_data_pictures`. `READ` says what
comes out and one clause of what is said; `REFUSED` what the sentence says. None may train on something else than what
the file means, without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xentlab import data
from xentlab.errors import UserError

TWENTY = "".join(f"{i % 7},{'pq'[i % 2]},{i % 2}\n" for i in range(20))
HEAD = "@relation r\n@attribute a numeric\n@attribute cls {p,q}\n@data\n"
A = '"a";"y"\n'

# file, text, knobs, the first row of the inputs, the classes, one clause
READ: list[tuple[str, str | bytes, dict[str, Any], list[float], str, str]] = [
    ("iris.data", "5.1,3.5,setosa\n7.0,3.2,virginica\n6.3,3.3,setosa\n\n", {}, [5.1, 3.5], "setosa virginica",
     "no header: its first row holds a number, 5.1"),
    ("adult.data", "39, State-gov, <=50K\n50, Private, >50K\n38, Private, <=50K\n", {}, [39, 0, 1], "<=50K >50K",
     "columns of words, and how many: column_1 (2)"),
    ("wine.csv", '"fixed acidity";"pH";"quality"\n7.4;3.51;5\n7.8;3.2;6\n', {}, [7.4, 3.51], "5 6", "semicolons"),
    ("bcw.data", "1000025,5,?,2\n1002945,5,10,4\n1015425,3,2,2\n", {"impute": "median"}, [1000025, 5, np.nan], "2 4",
     "1 rows have a missing value: impute=median"),
    ("wdbc.data", "842302,M,17.99\n842517,B,20.57\n", {"targets": ("column_1",)}, [842302, 17.99], "B M",
     "target column_1"),
    ("auto-mpg.data", '18.0   8   3504.  70\t"chevrolet chevelle"\n15.0   4   3693.  70\t"buick skylark 320"\n',
     {"targets": ("column_0",), "task": "regression"}, [8, 3504, 70, 0, 1], "column_0", "separated by blanks"),
    ("titanic.csv", 'Survived,Name,Age\n0,"Braund, Mr. Owen",22\n1,"Cumings, Mrs.",38\n', {"targets": ("Survived",),
     "drop": ("Name",)}, [22], "0 1", "left out as asked: Name"),
    ("german.data", "A11 6 A34 1\nA12 48 A32 2\nA14 12 A34 2\n", {}, [1, 0, 0, 6, 0, 1], "1 2",
     "column_0 (3), column_2 (2)"),
    ("votes.data", "republican,n,y\ndemocrat,y,n\ndemocrat,n,y\n", {"targets_at": "start"}, [0, 1],
     "democrat republican", "no header: 2 cells of its first row come again below"),
    ("heart.csv", "\ufeffage,sex,target\r\n63,1,1\r\n37,0,0\r\n60,0,1\r\n", {}, [63, 1], "0 1", "target target"),
    ("bank.csv", "Datum;Betrag;Art\n2024-01-03;1.234,56;Miete\n2024-01-04;-20,00;Käufe\n".encode("latin-1"), {},
     [19725, 1234.56], "Käufe Miete", "read as Latin-1"),
    ("saved_twice.csv", "Unnamed: 0,a,y\n0,5,p\n1,7,q\n2,8,p\n", {}, [5], "p q", "counts the rows: left out"),
    ("r_write_table.txt", '"a" "b" "y"\n"1" 1 2 "p"\n"2" 3 4 "q"\n', {}, [1, 2], "p q", "one name fewer"),
    ("excel.csv", "sep=;\na;y\n1;p\n2;q\n", {}, [1], "p q", "its first line says what separates cells"),
    ("tool.csv", "# made by a tool\n# 2024\na,y\n1,p\n2,q\n", {}, [1], "p q", "2 lines of comment at the top left out"),
    ("fortran.csv", "a,y\n1.5D+03,p\n2.5D+02,q\n", {}, [1500], "p q", "D stands before the exponent, as in 1.5D+03"),
    ("percent.csv", "a,y\n45%,p\n50%,q\n", {}, [45], "p q", "column a: % stands by every number, as in 45%"),
    ("dollar.csv", 'a,y\n"$1,200.00",p\n$50.00,q\n', {}, [1200], "p q", "$ stands by every number"),
    ("units.csv", "a,y\n12 kg,p\n13.5 kg,q\n", {}, [12], "p q", "kg stands by every number"),
    ("blanks.csv", A + "1 200;p\n300;q\n", {}, [1200], "p q", "blanks or apostrophes separate thousands, as in 1 200"),
    ("nbsp.csv", A + "1\u00a0200,5;p\n3\u00a0100,5;q\n", {}, [1200.5], "p q", "blanks or apostrophes"),
    ("swiss.csv", A + "1'200;p\n3'100;q\n", {}, [1200], "p q", "blanks or apostrophes"),
    ("minus.csv", "a,y\n\u22121.5,p\n2.5,q\n", {}, [-1.5], "p q", "a long minus sign"),
    ("multiline.csv", 'note,a,y\n"one\ntwo",1,p\none,2,q\n', {}, [0, 1, 1], "p q", "note (2)"),
    ("single.csv", "a,y\n'1','p'\n'2','q'\n", {}, [1], "p q", "2 classes: p 1, q 1"),
    ("leak.csv", "a,label,code\n" + TWENTY, {"targets": ("label",)}, [0], "p q", "copies of the target: code"),
    ("prices.csv", 'a,price\n1,"250,000"\n2,"99,999"\n', {"task": "regression"}, [1], "price", "from 99999 to 250000"),
    ("adult.test.csv", "|1x3 Cross validator\n25, Private, <=50K.\n38, Private, >50K.\n", {}, [25, 1], "<=50K. >50K.",
     "left out: |1x3 Cross validator"),
    ("months.csv", "t,y\n3 Jan 2021,p\n5 Feb 2021,q\n", {}, [18630], "p q", "dates written %d %b %Y, as in 3 Jan 2021"),
    ("weka.arff", "% Title: Iris\n%\n@RELATION iris\n@ATTRIBUTE len\tREAL\n@ATTRIBUTE class \t{Iris-a,Iris-b}\n@DATA\n"
     "5.1,Iris-a\n7.0,Iris-b\n%\n%\n", {}, [5.1], "Iris-a Iris-b", "2 rows"),
    ("missing.arff", HEAD + "?,p\n2,q\n4,p\n", {"impute": "mean"}, [np.nan], "p q", "1 rows have a missing value"),
    ("range.arff", HEAD.replace("numeric", "integer [0,10]") + "1,p\n2,q\n", {}, [1], "p q", "2 rows"),
    ("meka.arff", "@relation 'M: -C -2 -split-number 3'\n@attribute a numeric\n@attribute u {0,1}\n@attribute v {0,1}\n"
     "@data\n5,0,1\n6,1,1\n", {"task": "multilabel"}, [5], "u v", "labels: u 1, v 2"),
    ("quoted.arff", HEAD.replace("numeric", "{'a, b','c d'}") + "'a, b',p\n'c d',q\n", {}, [1, 0], "p q", "a (2)"),
]  # fmt: skip

REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("titanic.csv", "Name,y\n" + "".join(f"Name {i} Mr.,{i % 2}\n" for i in range(120)), {}, "dataset.drop=[Name]"),
    ("spss.csv", "a,y\n1,p\n#NULL!,q\n3,q\n", {}, "holds '#NULL!' (an error value of a spreadsheet)"),
    ("x.jsonl", '{"a":1}\n', {}, "dataset.path must end in one of .csv"),
    ("libsvm.txt", "1 1:0.5 3:0.2\n-1 2:0.1 3:0.7\n", {}, "as of a sparse libsvm file, such as 1:0.5"),
    ("times.csv", "t,y\n12:30:05,p\n12:31:00,q\n", {}, "found times of day, such as 12:30:05"),
    ("dates.csv", "t,y\n3/1/2021,p\n5/2/2021,q\n", {}, "found dates, such as 3/1/2021"),
    ("feet.csv", "h,y\n5'11\",p\n6'0\",q\n", {}, "found feet and inches"),
    ("lists.csv", 'v,y\n"[1, 2]",p\n"[3, 4]",q\n', {}, "found lists, such as [1, 2]"),
    ("hex.csv", "a,y\n0x1F,p\n0x2A,q\n", {}, "found hexadecimal numbers"),
    ("error.csv", "a,y\n1.5±0.1,p\n2.5±0.2,q\n", {}, "found numbers with an error beside"),
    ("two_units.csv", "a,y\n12 kg,p\n500 g,q\n", {}, "found numbers of different units"),
    ("joined.csv", "a,y\n1,p\n2,q\na,y\n3,p\n", {}, "holds 'a' (a word for a missing value, or a slip)"),
    ("total.csv", "a,y\n1,p\n2,q\n3,\n", {}, "must hold a value in every row of column 'y'"),
    ("one.csv", "1\n2\n3\n", {}, "must hold more than one column"),
    ("fixed.txt", "name   a  b\np     1  2\nq        3\n", {}, "must hold 3 values, found 2"),
    ("label_first.csv", "label,a,b\np,1,2\nq,3,4\n", {}, "where label may be it as well as b"),
    ("class_first.arff", HEAD.replace("@attribute a numeric\n@attribute cls {p,q}", "@attribute cls {p,q}\n"
     "@attribute a numeric") + "p,1\nq,2\n", {}, "declares a as numeric and has classes in cls"),
    ("tags.csv", "a,tags\n1,red|blue\n2,red\n", {"task": "multilabel", "targets": ("tags",)}, "found red|blue"),
    ("inline.arff", HEAD + "1,p % a comment\n2,q\n", {}, "one of p, q, found 'p % a comment'"),
]  # fmt: skip


def write(file: Path, text: str | bytes) -> str:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


@pytest.mark.parametrize(("name", "text", "knobs", "first", "classes", "said"), READ, ids=[row[0] for row in READ])
def test_a_public_table_is_read_and_said(
    tmp_path: Path, name: str, text: str | bytes, knobs: dict[str, Any], first: list[float], classes: str, said: str
) -> None:
    read = data.tabular(path=write(tmp_path / name, text), standardize=False, **knobs)
    np.testing.assert_array_equal(read.inputs[0].numpy(), np.asarray(first, dtype=np.float32))
    assert read.class_names == tuple(classes.split())
    assert any(said in note for note in read.notes), read.notes


@pytest.mark.parametrize(("name", "text", "knobs", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_public_table_is_refused_clearly(
    tmp_path: Path, name: str, text: str, knobs: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        data.tabular(path=write(tmp_path / name, text), **knobs)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)

"""Tables that pandas holds as frames: .parquet and .xlsx files, and frames from Python.

Cells of a sheet are read as those of a text file are, so that one rule says where the table begins and what its names
are.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from xentlab.data.columns import FileTable, few
from xentlab.data.delimited import of_cells, reason, table_of, table_within
from xentlab.errors import UserError

FRAME_SUFFIXES = (".parquet", ".xlsx")


def read_sheet(file: Path, *, header: bool | None) -> FileTable:
    """The cells of the first sheet of an .xlsx file with more than one column, as text.

    Raises:
        UserError: the file cannot be read, or the library for it is not installed.
    """
    import pandas

    try:
        sheets = pandas.read_excel(file, sheet_name=None, header=None, dtype=object, na_filter=False)
    except ImportError as error:
        raise UserError(f"{file} needs openpyxl, which is not installed: pip install openpyxl.") from error
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read as {file.suffix} ({reason(error)}).") from error
    chosen = next((name for name, sheet in sheets.items() if sheet.shape[1] > 1), None)
    if chosen is None:
        raise UserError(f"{file} must hold rows of more than one column, found none.")
    notes = [f"sheet {chosen} read, passed over: {few([str(n) for n in sheets if n != chosen])}"] * (len(sheets) > 1)
    rows = sheets[chosen].map(lambda cell: str(cell).strip()).to_numpy(dtype=object)
    first, last = table_within([list(row) for row in rows], notes)
    return of_cells(file, rows[first:last], header, notes, comma_separates=True)


def read_frame(file: Path) -> FileTable:
    """The columns of a .parquet file: numbers as numbers, all else as text.

    Raises:
        UserError: the file cannot be read, or the library for it is not installed.
    """
    import pandas

    try:
        frame = pandas.read_parquet(file)
    except ImportError as error:
        raise UserError(f"{file} needs pyarrow, which is not installed: pip install pyarrow.") from error
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{file} cannot be read as {file.suffix} ({reason(error)}).") from error
    return frame_table(frame.reset_index() if any(frame.index.names) else frame, file)


def frame_table(frame: Any, file: Path) -> FileTable:
    """The columns of a pandas data frame, called `file` in sentences: numbers as numbers, all else as text.

    Raises:
        UserError: it has no rows, or two columns of one name.
    """
    if not len(frame):
        raise UserError(f"{file} must hold rows, found none.")
    names = [str(name).strip() for name in frame.columns]
    columns = []
    for j in range(len(names)):
        series = frame.iloc[:, j]
        if series.dtype.kind == "f":
            columns.append(series.to_numpy(dtype=np.float64))
        else:
            gone = series.isna().to_numpy()
            columns.append(np.array(["" if empty else str(cell) for cell, empty in zip(series, gone, strict=True)]))
    return table_of(file, names, columns, [], comma_separates=True)

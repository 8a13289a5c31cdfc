"""Tables of any common format as rows of text. `Table` opens one; the other files are its parts."""

from icg.data.tables.cells import CellProblem
from icg.data.tables.files import SUFFIXES
from icg.data.tables.table import Row, Table, TableOptions

__all__ = ["SUFFIXES", "CellProblem", "Row", "Table", "TableOptions"]

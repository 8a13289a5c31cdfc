"""Imports: tables and pictures on disk -> items, covers and events, by the same operations as the API. Knows no command line."""

from eyecatch.importing.events import EventColumns, import_events
from eyecatch.importing.items import ItemColumns, import_items
from eyecatch.importing.report import ImportOptions, Refusal, Report
from eyecatch.importing.tables import Table, TableOptions

__all__ = [
    "EventColumns",
    "ImportOptions",
    "ItemColumns",
    "Refusal",
    "Report",
    "Table",
    "TableOptions",
    "import_events",
    "import_items",
]

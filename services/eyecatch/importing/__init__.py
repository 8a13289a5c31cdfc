"""Imports: tables and pictures on disk -> items, covers and events, by the same operations as the API. Knows no command line."""

from eyecatch.importing.events import EventColumns, import_events
from eyecatch.importing.items import ItemColumns, import_items
from eyecatch.importing.report import Refusal, Report
from eyecatch.importing.tables import Table

__all__ = ["EventColumns", "ItemColumns", "Refusal", "Report", "Table", "import_events", "import_items"]

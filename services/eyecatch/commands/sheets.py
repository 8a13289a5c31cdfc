"""eyecatch contact-sheet: the covers that each user would see, in one picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyecatch.commands.common import Answer
from eyecatch.commands.flags import remote

if TYPE_CHECKING:
    from eyecatch.client import Client


@remote
def contact_sheet(
    client: "Client",
    items: Annotated[list[str], typer.Argument(help="Item ids, one for each column.")],
    user: Annotated[list[str], typer.Option("--user", help="User id, one for each row; repeat for more.")],
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.", dir_okay=False)] = Path("contact-sheet.png"),
) -> Answer:
    """Draw the cover that each user would see for each item, with scores."""
    from icg.contact_sheet import Cell, Row
    from icg.contact_sheet import contact_sheet as draw
    from icg.pictures import decode

    from eyecatch.v1 import catalog_pb2, covers_pb2

    titles = [client.catalog.GetItem(catalog_pb2.GetItemRequest(item_id=i), timeout=10).item.title for i in items]
    rows = []
    for name in user:
        cells = []
        for item in items:
            ranked = client.covers.RankCovers(covers_pb2.RankCoversRequest(user_id=name, item_id=item), timeout=10)
            best = ranked.covers[0] if ranked.covers else None
            get = covers_pb2.GetCoverRequest(cover_id=best.cover_id, include_image=True) if best else None
            image = decode(client.covers.GetCover(get, timeout=10).cover.image) if get else None
            pool = f"best of {len(ranked.covers)} covers" if len(ranked.covers) > 1 else "the only cover"
            cells.append(Cell(image, f"score {best.score:+.2f}, {pool}" if best else ""))
        rows.append(Row(name, "personalised" if ranked.personalised else "not personalised", cells))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(rows, titles, "Eyecatch", "the best existing cover of each item for each user").save(out)
    return Answer({"out": str(out)}, f"wrote {out}")

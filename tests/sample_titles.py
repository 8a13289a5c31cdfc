"""Titles of the sample catalogue beside the bare names of their subjects, as the shipped dual encoder reads them.

python -m tests.sample_titles

Of each item: the mean cosine of its four references with the bare name and with the title, and the mean rank of the bare name among all
bare names, and of the title among all titles; 1 is the best.
"""

import csv
from pathlib import Path

import eyecatch
import numpy as np
from icg.models.joint import JointEmbedding
from icg.pictures import decode
from icg.starter import path

SAMPLE = Path(eyecatch.__file__).parent / "sample"


def main() -> None:
    with (SAMPLE / "items.csv").open(newline="") as file:
        items = list(csv.DictReader(file))
    embedding = JointEmbedding.from_pretrained(path())
    pictures = [decode((SAMPLE / i[c]).read_bytes()) for i in items for c in i if c.startswith("image")]
    embeddings = embedding.images(pictures)
    own = np.repeat(np.arange(len(items)), len(embeddings) // len(items))
    print(f"{'bare name':<18}{'title':<30}{'cosine':>8}{'':>8}{'rank':>8}")
    columns = []
    for texts in ([i["item_id"].replace("-", " ") for i in items], [i["title"] for i in items]):
        cosines = embeddings @ embedding.texts(texts).T
        mine = cosines[np.arange(len(own)), own]
        ranks = 1 + (cosines > mine[:, None]).sum(1)
        columns += [values.reshape(len(items), -1).mean(1) for values in (mine, ranks)]
    bare, bare_rank, full, full_rank = columns
    for n, item in enumerate(items):
        name = item["item_id"].replace("-", " ")
        print(f"{name:<18}{item['title']:<30}{bare[n]:8.3f}{full[n]:8.3f}{bare_rank[n]:8.2f}{full_rank[n]:8.2f}")
    print(f"{'mean':<48}{bare.mean():8.3f}{full.mean():8.3f}{bare_rank.mean():8.2f}{full_rank.mean():8.2f}")
    print(f"titles below their bare name: {(full < bare).sum()} of {len(items)}")


if __name__ == "__main__":
    main()

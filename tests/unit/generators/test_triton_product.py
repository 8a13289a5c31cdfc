"""Covers of a fine-tuned product through a real Triton: the in-process generator's, bit by bit, and refusals that name it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import NotFound, NotReady
from eyecatch.core.generator import Brief
from eyecatch.generators.local import LocalGenerator
from eyecatch.generators.triton import TritonGenerator, TritonOptions
from icg import starter

from tests import triton
from tests.unit.generators.test_triton import SPACE, silent
from tests.unit.icg.products.random_products import store_product

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:FutureWarning")]


async def test_a_product_over_triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = starter.load().pipeline
    for id, method in (("one", "dreambooth"), ("words", "textual-inversion"), ("whole", "dreambooth-full")):
        store_product(tmp_path, pipeline, id, method)
    monkeypatch.setenv("EYECATCH_PRODUCTS", str(tmp_path))
    plain = Brief("a {product}", (), np.zeros(64, np.float32), 7)
    request = [replace(plain, drawing=Drawing(3, product_id=id)) for id in ("one", "words", "")]
    local = LocalGenerator(None, tmp_path)
    with triton.running() as server:
        remote = TritonGenerator([server.ready().address], TritonOptions(60.0, 2, SPACE))
        try:
            theirs, ours = await remote.generate(request, silent), await local.generate(request, silent)
            assert len({new.image for new in ours}) == 3
            for a, b in zip(theirs, ours, strict=True):
                assert a.image == b.image
                assert a.brief_digest == b.brief_digest
                assert np.array_equal(a.embedding, b.embedding)
            for id, kind, named in (
                ("gone", NotFound, "no product 'gone'; allowed: one, whole, words"),
                ("whole", NotReady, "changes all weights"),
            ):
                with pytest.raises(kind, match=named):
                    await remote.generate([replace(plain, drawing=Drawing(3, product_id=id))], silent)
        finally:
            await remote.close()
            await local.close()

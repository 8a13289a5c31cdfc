"""A fitted space and further rewards through a real Triton: the in-process generator's covers and scores."""

from pathlib import Path

import numpy as np
import pytest
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import Unavailable
from eyecatch.core.generator import Brief
from eyecatch.encoders.learned import cover_space
from eyecatch.generators.local import LocalGenerator
from eyecatch.generators.triton import TritonGenerator, TritonOptions
from icg.checkpoints import SHIPPED
from icg.users.crossing import Crossing

from tests import triton
from tests.fakes import picture
from tests.spaces import another_space
from tests.unit.generators.test_triton import SPACE, silent
from tests.unit.icg import tiny_judges

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore:.*:FutureWarning")]


async def test_a_fitted_space_and_further_rewards_over_triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = another_space(tmp_path / "space")
    Crossing(np.eye(64, dtype=np.float32)).save(space, cover_space(SHIPPED))
    monkeypatch.setenv("EYECATCH_SPACE", str(space))
    tiny_judges.classifier(tmp_path / "safety", "normal", "nsfw")
    rewards = f"safety={tmp_path / 'safety'}"
    monkeypatch.setenv("EYECATCH_REWARDS", rewards)
    user, nobody = np.eye(64, dtype=np.float32)[0], np.zeros(64, np.float32)
    request = [Brief("red kettle", (), row, 7, Drawing(3)) for row in (user, nobody)]
    local = LocalGenerator(space=space, rewards=rewards)
    with triton.running() as server:
        address = server.ready().address
        remote = TritonGenerator([address], TritonOptions(60.0, 2, cover_space(SHIPPED, space)))
        elsewhere = TritonGenerator([address], TritonOptions(60.0, 2, SPACE))
        try:
            theirs, ours = await remote.generate(request, silent), await local.generate(request, silent)
            for a, b in zip(theirs, ours, strict=True):
                assert a.image == b.image
                assert np.array_equal(a.embedding, b.embedding)
                assert a.rewards == pytest.approx(b.rewards, abs=1e-5)
            assert ours[0].image != ours[1].image, "users of the space are told apart"
            assert "safety" in ours[0].rewards
            (score,) = await remote.score([picture("red")], ["red kettle"])
            assert "safety" in score.rewards
            with pytest.raises(Unavailable, match="embeds with the model"):
                await elsewhere.score([picture("red")], ["red kettle"])
        finally:
            for generator in (remote, elsewhere, local):
                await generator.close()

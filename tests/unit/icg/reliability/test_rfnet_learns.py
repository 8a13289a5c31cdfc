"""RFNet learns a task that needs both caption and picture; without the caption it guesses."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from icg.reliability.config import CAPTION, PICTURE, PRODUCT, VARIANTS
from icg.reliability.encoders import SmallImage, SmallText
from icg.reliability.rfnet import Cues, RFNet

SIDE, WORDS, STEPS = 32, 8, 40


def staged(net: RFNet, count: int, seed: int) -> tuple[Cues, torch.Tensor]:
    """A large or small square in the picture with a caption that states its size, or the other one; the class is one of these four."""
    rng = torch.Generator().manual_seed(seed)
    large, stated = (torch.rand(2, count, generator=rng) < 0.5).long()
    picture, product = (torch.full((count, 3, SIDE, SIDE), -0.5) for _ in range(2))
    product[:, :, 8:24, 8:24] = 0.8
    for n in range(count):
        edge = int(torch.randint(*((16, 21) if large[n] else (6, 11)), (), generator=rng))
        x, y = torch.randint(SIDE - edge + 1, (2,), generator=rng).tolist()
        picture[n, :, y : y + edge, x : x + edge] = 0.8
    nouns = ("sofa", "lamp", "chair", "cup")
    captions = [f"a {('small', 'large')[big]} {nouns[n % 4]}" for n, big in enumerate(stated.tolist())]
    ids, mask = net.tokens(captions) if net.text else (None, None)
    return Cues(product, picture, ids=ids, mask=mask), 2 * large + stated


def held_out(*cues: str) -> tuple[float, float]:
    """On held-out squares: accuracy over the four classes, and over whether the caption is right."""
    torch.manual_seed(0)
    config = replace(VARIANTS["small"], width=32, fusions=1, side=SIDE, words=WORDS, cues=cues)
    net = RFNet(config, SmallImage(16), SmallText(WORDS) if CAPTION in cues else None).train()
    (training, kind), (test, answer) = staged(net, 512, 1), staged(net, 256, 2)
    best = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for step in range(STEPS):
        best.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 20)
        rows = torch.randint(512, (32,))
        inputs = {f.name: getattr(training, f.name) for f in fields(training)}
        loss = F.cross_entropy(net(Cues(**{k: v if v is None else v[rows] for k, v in inputs.items()})), kind[rows])
        best.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        best.step()
    with torch.no_grad():
        predicted = net.eval()(test).argmax(1)
    as_said = torch.tensor([True, False, False, True, False])
    return float((predicted == answer).float().mean()), float((as_said[predicted] == as_said[answer]).float().mean())


@pytest.mark.slow
def test_it_learns_what_needs_the_caption_and_the_picture() -> None:
    """The caption enters through the filter only."""
    with torch.random.fork_rng():
        which, fits = held_out(PRODUCT, PICTURE, CAPTION)
        blind, guessed = held_out(PRODUCT, PICTURE)
    assert min(which, fits) > 0.9
    assert blind < 0.62, "it sees the size, so it guesses between two"
    assert 0.38 < guessed < 0.62, "chance"

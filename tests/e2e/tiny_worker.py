"""`eyecatch generate` with a generator that needs no model, as a process to be killed: python -m tests.e2e.tiny_worker '{"kafka": ...}'."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence

from eyecatch.core.generator import Brief, GeneratedCover
from eyecatch.reader_config import GenerateConfig
from eyecatch.wiring.generate import generate

from tests.fakes import FakeGenerator

STEP_S = 0.06


class Slow(FakeGenerator):
    """Takes its time for each step, so that something can happen meanwhile."""

    async def generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], on_preview: object = None
    ) -> Sequence[GeneratedCover]:
        for _ in range(4):
            await asyncio.sleep(STEP_S)
        return await super().generate(briefs, on_step)


if __name__ == "__main__":
    asyncio.run(generate(GenerateConfig(**json.loads(sys.argv[1])), lambda port: print(port, flush=True), Slow()))

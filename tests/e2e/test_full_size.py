"""Stable Diffusion 1.5 and a SmolVLM-256M at their real sizes, with random weights, served by one process on a CPU at 512 × 512.

Its picture is noise: what is shown is that a checkpoint of this size is loaded, served and drawn, and how much memory that takes.
"""

import io
import json
import re
from pathlib import Path

import pytest
import torch
import transformers as t
from eyecatch.client import connect
from eyecatch.v1 import catalog_pb2, covers_pb2, types_pb2
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.assemble import assemble
from icg.models.compatible import family_of
from icg.settings import DrawingSettings
from PIL import Image

from benchmarks.gpu import sd15
from tests.e2e.conftest import serving
from tests.unit.icg import tiny_vlm

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:FutureWarning")]
SIZE, TOKENS = (512, 512), 77


def smolvlm_256m(folder: Path) -> tuple[Path, int]:
    """Its folder, with the byte tokenizer of the tiny one, and the width of its language model."""
    tiny_vlm.save("smolvlm", folder)
    small = t.SmolVLMConfig.from_pretrained(folder)
    language = t.LlamaConfig(
        **{name: getattr(small.text_config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        vocab_size=49_280,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
    )
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    vision |= {"image_size": tiny_vlm.SIDE, "patch_size": small.vision_config.patch_size}
    config = t.SmolVLMConfig(
        text_config=language.to_dict(), vision_config=vision, image_token_id=small.image_token_id, scale_factor=2
    )
    t.SmolVLMForConditionalGeneration(config).half().save_pretrained(folder)
    return folder, 576


def peak_gb(pid: int) -> float:
    kilobytes = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert kilobytes is not None
    return int(kilobytes[1]) / 2**20


@pytest.mark.timeout(1800)
def test_a_full_size_checkpoint_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    vlm, width = smolvlm_256m(tmp_path / "vlm")
    stock = sd15(narrow=False)
    spec = family_of(stock).spec
    stock.to(torch.float16).save_pretrained(tmp_path / "diffusion")
    del stock
    IcgAdapter(AdapterConfig(width, spec.width, spec.pooled, tokens=TOKENS)).save_pretrained(tmp_path / "adapter")
    parts = {name: tmp_path / name for name in ("vlm", "diffusion", "adapter")}
    settings = DrawingSettings(size=SIZE, steps=2, guidance=4.0, dtype="bfloat16")
    report, _ = assemble(tmp_path / "mine", parts, settings)
    assert vlm == parts["vlm"]
    numbers = {part.name: part.parameters for part in report.parts}
    assert numbers["denoiser"] > 850e6
    assert numbers["vlm"] > 200e6
    flags = ("--checkpoint", str(tmp_path / "mine"), "--device", "cpu")
    with serving(tmp_path / "data", *flags) as (address, process), connect(address) as client:
        item = types_pb2.Item(id="lamp", title="A lamp")
        client.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item]), timeout=60)
        before = peak_gb(process.pid)
        request = covers_pb2.GenerateCoversRequest(item_id="lamp", seed=1)
        *_, last = client.covers.GenerateCovers(request, timeout=1200)
        memory = peak_gb(process.pid)
    assert Image.open(io.BytesIO(last.cover.image)).size == SIZE
    assert before < 3, "nothing of it is loaded before a cover is asked for"
    with capsys.disabled():
        print(json.dumps({"parameters": numbers, "peak_gb": round(memory, 1), "before_gb": round(before, 1)}))

"""A Stable Diffusion of one file in its original names becomes the folder that it was made of, or is refused before anything is written."""

from pathlib import Path

import pytest
import torch
from icg.errors import CheckpointError
from icg.models.single_file import convert
from icg.models.stock import load_diffusion
from safetensors.torch import save_file
from torch import Tensor

from tests.unit.icg import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def of_unet(name: str, layers: int) -> str:
    """A name of diffusers' UNet -> the original one."""
    stem, _, kind = name.rpartition(".")
    if stem in ENDS:
        return f"{ENDS[stem]}.{kind}"
    where, *rest = name.split(".")
    if where == "mid_block":
        part, n, *inner = rest
        return ".".join(["middle_block", str(2 * int(n)) if part == "resnets" else "1", *_inner(part, inner)])
    block, part, n, *inner = rest
    if part == "downsamplers":
        return f"input_blocks.{(layers + 1) * (int(block) + 1)}.0.op.{kind}"
    if part == "upsamplers":
        return f"output_blocks.{(layers + 1) * int(block) + layers}.{1 if int(block) != 0 else 2}.conv.{kind}"
    row = (layers + 1) * int(block) + int(n) + (1 if where == "down_blocks" else 0)
    side = "input_blocks" if where == "down_blocks" else "output_blocks"
    return ".".join([side, str(row), "0" if part == "resnets" else "1", *_inner(part, inner)])


def _inner(part: str, inner: list[str]) -> list[str]:
    return [RESNET[inner[0]], *inner[1:]] if part == "resnets" else inner


def of_vae(name: str, blocks: int) -> str:
    """A name of diffusers' autoencoder -> the original one."""
    pairs = [("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2")]
    pairs += [("mid_block.attentions.0", "mid.attn_1"), ("group_norm", "norm"), ("to_out.0", "proj_out")]
    pairs += [
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
    ]
    for n in range(blocks):
        pairs += [
            (f"down_blocks.{n}.resnets", f"down.{n}.block"),
            (f"up_blocks.{n}.resnets", f"up.{blocks - 1 - n}.block"),
        ]
        pairs += [(f"down_blocks.{n}.downsamplers.0", f"down.{n}.downsample")]
        pairs += [(f"up_blocks.{n}.upsamplers.0", f"up.{blocks - 1 - n}.upsample")]
    for new, old in pairs:
        name = name.replace(new, old)
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pipeline = tiny.diffusion("sd15")
    pipeline.save_pretrained(tmp_path / "diffusers")
    unet, vae = pipeline.unet, pipeline.vae
    tensors: dict[str, Tensor] = {
        f"model.diffusion_model.{of_unet(name, unet.config.layers_per_block)}": value
        for name, value in unet.state_dict().items()
    }
    for name, value in vae.state_dict().items():
        old = of_vae(name, len(vae.config.block_out_channels))
        attends = "attn_1" in old and value.ndim == 2
        tensors[f"first_stage_model.{old}"] = value[..., None, None] if attends else value
    save_file({name: value.half().contiguous() for name, value in tensors.items()}, tmp_path / "model.safetensors")
    return tmp_path


def test_the_folder_has_the_weights_of_the_file(folder: Path) -> None:
    convert(folder / "model.safetensors", folder / "diffusers", folder / "converted")
    ours, before = load_diffusion(folder / "converted"), load_diffusion(folder / "diffusers")
    for part in ("unet", "vae"):
        weights, expected = (getattr(each, part).state_dict() for each in (ours, before))
        assert weights.keys() == expected.keys()
        assert all(torch.equal(value, expected[name].half().float()) for name, value in weights.items())
    assert type(ours.scheduler) is type(before.scheduler)
    with pytest.raises(CheckpointError, match="it exists; allowed: a new folder"):
        convert(folder / "model.safetensors", folder / "diffusers", folder / "converted")


def test_what_is_no_such_model_is_refused_and_nothing_is_written(folder: Path) -> None:
    other = folder / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    (folder / "model.ckpt").write_bytes(b"pickled")
    for file, config, message in (
        (other, folder / "diffusers", "no StableDiffusionPipeline as config"),
        (folder / "model.ckpt", folder / "diffusers", "allowed: an existing .safetensors file"),
        (folder / "nothing.safetensors", folder / "diffusers", "allowed: an existing .safetensors file"),
        (folder / "model.safetensors", folder, "model_index.json is missing"),
    ):
        with pytest.raises(CheckpointError, match=message):
            convert(file, config, folder / "converted")
    assert {path.name for path in folder.iterdir()} == {
        "diffusers",
        "model.safetensors",
        "other.safetensors",
        "model.ckpt",
    }

"""Low-rank weights (arXiv:2106.09685) by name, one set at a time over the denoiser's own. Knows no request.

Some are announced at the start and stay; those of trained products are loaded when they are first asked for, and the ones that were not
asked for longest make room.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from icg.errors import BriefError, CheckpointError
from icg.models.batch_exactness import steady
from icg.models.families import Family
from icg.products.library import Trained


class Loras:
    """Loads each folder once; `use(name)` puts it beside the denoiser, "" takes it away. What was there before stays at all times.

    At most `keep` products' weights are on the device beside them. Used from one thread. Raises CheckpointError for a folder that does
    not fit.
    """

    def __init__(self, family: Family, folders: Mapping[str, Path], keep: int = 8) -> None:
        self._family, self._denoiser, self.names = family, family.denoiser, ("", *sorted(folders))
        self._always = list(getattr(self._denoiser, "peft_config", {}))
        self._now, self.keep, self._steady = "", max(1, keep), False
        self._products: OrderedDict[str, str] = OrderedDict()
        self._own: dict[str, Tensor] = {}
        self.loaded = 0
        """How many times a product's weights were put on the device."""
        for name, folder in sorted(folders.items()):
            if not name or name in self._always:
                raise CheckpointError(
                    f"lora name={name!r}; allowed: one that is not empty and not one of {self._always}"
                )
            family.load_lora(folder, name)
        if folders:
            self._put("")

    def check(self, name: str) -> None:
        """BriefError for one that was not loaded."""
        if name not in self.names:
            raise BriefError(f"lora={name!r}; allowed: {', '.join(map(repr, self.names))}")

    def settle(self) -> None:
        """From now on rows do not depend on their batch, whatever is loaded later: see `icg.models.batch_exactness.steady`."""
        steady(self._denoiser)
        self._steady = True

    def clear(self) -> None:
        """Take all products' weights off the device; the denoiser is as it was."""
        self.use("")
        for key in list(self._products):
            self._drop(key)
        if not getattr(self._denoiser, "peft_config", {}):
            self._denoiser.unload_lora()

    def use(self, name: str) -> None:
        """From the next call on."""
        self._whole(None)
        if name != self._now:
            self._put(name)

    def wear(self, product: Trained) -> None:
        """The same with what was trained for a product, whatever that is; CheckpointError where it does not fit."""
        if not product.lora:
            self.use("")
            return self._whole(product if product.whole else None)
        self._whole(None)
        if product.key not in self._products:
            self._load(product)
        self._products.move_to_end(product.key)
        if self._now != self._products[product.key]:
            self._put(self._products[product.key])

    @torch.inference_mode(False)  # tensors made in inference mode could never be trained beside
    def _load(self, product: Trained) -> None:
        while len(self._products) >= self.keep:
            self._drop(next(iter(self._products)))
        name = "product-" + product.record.weights[:16] + f"-{self.loaded}"  # names of modules may hold no dot
        try:
            self._family.load_lora(product.tensors, name)
        except CheckpointError as error:
            self._delete(name)
            raise CheckpointError(
                f"product_id={product.record.id!r}: its weights are not for this denoiser; allowed: a product trained on it"
            ) from error
        finally:
            self._put("")
        self.loaded += 1
        self._denoiser.requires_grad_(False)
        self._products[product.key] = name
        if self._steady:
            steady(self._denoiser)

    def _drop(self, key: str) -> None:
        name = self._products.pop(key)
        if self._now == name:
            self._put("")
        self._delete(name)

    def _delete(self, name: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", ".* was active which is now deleted"
            )  # what is active is said anew each time
            if name in getattr(self._denoiser, "peft_config", {}):
                self._denoiser.delete_adapters(name)

    def _put(self, name: str) -> None:
        active = self._always + [name] * bool(name)
        if active:
            self._denoiser.set_adapters(active)
            self._denoiser.enable_lora()
        elif getattr(self._denoiser, "peft_config", {}):
            self._denoiser.disable_lora()
        self._now = name

    @torch.inference_mode(False)
    def _whole(self, product: Trained | None) -> None:
        """Exchange all weights of the denoiser for those of a product, or for its own again."""
        if product is None and not self._own:
            return
        weights = {name.replace(".base_layer", ""): value for name, value in self._denoiser.named_parameters()}
        for name, own in self._own.items():
            weights[name].data = own
        self._own = {}
        if product is None:
            return
        if strange := sorted(
            name
            for name, change in product.tensors.items()
            if name not in weights or weights[name].shape != change.shape
        ):
            raise CheckpointError(
                f"product_id={product.record.id!r}: {strange[0]} is not of this denoiser; allowed: a product trained on it"
            )
        self._own = {name: weights[name].data for name in product.tensors}
        for name, change in product.tensors.items():
            weights[name].data = weights[name].data + change.to(weights[name])

"""Named sets of low-rank weights (arXiv:2106.09685), one set at a time added to the denoiser's weights. Knows no request.

The sets in `folders` are loaded at the start and stay. A product's weights are loaded at their first use; the least recently used
are removed.
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
from icg.products.library import TrainedProduct


class Loras:
    """Loads each folder once. `use(name)` adds its weights to the denoiser, `use("")` removes them. LoRAs loaded before this object
    stay active.

    keep: how many products' weights may be on the device. Used from one thread. Raises CheckpointError for a folder that does not fit.
    """

    def __init__(self, family: Family, folders: Mapping[str, Path], keep: int = 8) -> None:
        self._family, self._denoiser, self.names = family, family.denoiser, ("", *sorted(folders))
        self._permanent = list(getattr(self._denoiser, "peft_config", {}))
        self._active, self.keep, self._steady = "", max(1, keep), False
        self._products: OrderedDict[str, str] = OrderedDict()
        self._original: dict[str, Tensor] = {}
        self.loaded = 0
        """How often a product's weights were put on the device."""
        for name, folder in sorted(folders.items()):
            if not name or name in self._permanent:
                raise CheckpointError(
                    f"lora name={name!r}; allowed: one that is not empty and not one of {self._permanent}"
                )
            family.load_lora(folder, name)
        if folders:
            self._activate("")

    def check(self, name: str) -> None:
        """Raise BriefError for a name that is not loaded."""
        if name not in self.names:
            raise BriefError(f"lora={name!r}; allowed: {', '.join(map(repr, self.names))}")

    def settle(self) -> None:
        """Make rows independent of their batch, now and for weights loaded later: see `icg.models.batch_exactness.steady`."""
        steady(self._denoiser)
        self._steady = True

    def clear(self) -> None:
        """Remove all products' weights from the device and restore the denoiser's own."""
        self.use("")
        for key in list(self._products):
            self._drop(key)
        if not getattr(self._denoiser, "peft_config", {}):
            self._denoiser.unload_lora()

    def use(self, name: str) -> None:
        """Apply the set `name` from the next call on."""
        self._replace_weights(None)
        if name != self._active:
            self._activate(name)

    def wear(self, product: TrainedProduct) -> None:
        """Apply a product's tensors, whatever its method; CheckpointError if they do not fit."""
        if not product.lora:
            self.use("")
            return self._replace_weights(product if product.whole else None)
        self._replace_weights(None)
        if product.key not in self._products:
            self._load(product)
        self._products.move_to_end(product.key)
        if self._active != self._products[product.key]:
            self._activate(self._products[product.key])

    @torch.inference_mode(False)  # tensors of inference mode cannot take part in training
    def _load(self, product: TrainedProduct) -> None:
        while len(self._products) >= self.keep:
            self._drop(next(iter(self._products)))
        name = "product-" + product.record.weights[:16] + f"-{self.loaded}"  # a module's name cannot contain a dot
        try:
            self._family.load_lora(product.tensors, name)
        except CheckpointError as error:
            self._delete(name)
            raise CheckpointError(
                f"product_id={product.record.id!r}: its weights are not for this denoiser; allowed: a product trained on it"
            ) from error
        finally:
            self._activate("")
        self.loaded += 1
        self._denoiser.requires_grad_(False)
        self._products[product.key] = name
        if self._steady:
            steady(self._denoiser)

    def _drop(self, key: str) -> None:
        name = self._products.pop(key)
        if self._active == name:
            self._activate("")
        self._delete(name)

    def _delete(self, name: str) -> None:
        with warnings.catch_warnings():
            # `_activate` sets the active adapters again each time.
            warnings.filterwarnings("ignore", ".* was active which is now deleted")
            if name in getattr(self._denoiser, "peft_config", {}):
                self._denoiser.delete_adapters(name)

    def _activate(self, name: str) -> None:
        names = self._permanent + [name] * bool(name)
        if names:
            self._denoiser.set_adapters(names)
            self._denoiser.enable_lora()
        elif getattr(self._denoiser, "peft_config", {}):
            self._denoiser.disable_lora()
        self._active = name

    @torch.inference_mode(False)
    def _replace_weights(self, product: TrainedProduct | None) -> None:
        """Set all weights of the denoiser to a product's, or back to its own (None)."""
        if product is None and not self._original:
            return
        weights = {name.replace(".base_layer", ""): value for name, value in self._denoiser.named_parameters()}
        for name, original in self._original.items():
            weights[name].data = original
        self._original = {}
        if product is None:
            return
        changes = product.tensors
        unknown = sorted(name for name in changes if name not in weights or weights[name].shape != changes[name].shape)
        if unknown:
            raise CheckpointError(
                f"product_id={product.record.id!r}: {unknown[0]} is not of this denoiser; allowed: a product trained on it"
            )
        self._original = {name: weights[name].data for name in changes}
        for name, change in changes.items():
            weights[name].data = weights[name].data + change.to(weights[name])

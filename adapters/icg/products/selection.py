"""What a pipeline knows of products it was fine-tuned on: which one a brief means, and whose weights are on now. Draws nothing."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from icg.brief import Brief
from icg.errors import CheckpointError, IcgError, UnknownProduct
from icg.products.library import Library, Trained, base_of

if TYPE_CHECKING:
    from icg.adapter.model import IcgAdapter
    from icg.models.families import Family
    from icg.products.lora import Loras


class FineTuned:
    """The part of a CoverPipeline that stands beside its models."""

    vlm: Any
    adapter: IcgAdapter
    family: Family
    _products: Library | None = None
    _loras: Loras | None = None

    @cached_property
    def base(self) -> str:
        """Tells this checkpoint from others: products are trained on one. To be asked before low-rank weights come beside its own."""
        return base_of(self.vlm, self.adapter, self.family.denoiser)

    @property
    def products(self) -> Library | None:
        """What product_id names; set it before a scheduler takes the pipeline over."""
        return self._products

    @products.setter
    def products(self, library: Library | None) -> None:
        self._products = library
        if library is not None:
            _ = self.base  # told now: a scheduler may put weights beside these

    def product(self, brief: Brief) -> Trained | None:
        """What the brief's product_id names now, None for "". Raises UnknownProduct for one that is not here, CheckpointError for one of
        another checkpoint."""
        if not brief.product_id:
            return None
        if self.products is None:
            raise UnknownProduct(f"product_id={brief.product_id!r}; allowed: '', this generator has no products")
        found = self.products.get(brief.product_id)
        if found.record.base != self.base:
            raise CheckpointError(
                f"product_id={brief.product_id!r} was trained on {found.record.base_name} ({found.record.base[:12]}); allowed: products "
                f"of this checkpoint ({self.base[:12]})"
            )
        return found

    def plain_title(self, brief: Brief) -> str:
        """Its title in words that anybody knows: a product is called by its class, also when it was removed meanwhile."""
        if not brief.product_id:
            return brief.title
        try:
            product = self.product(brief)
        except IcgError:
            product = None
        return brief.title if product is None else product.record.plain(brief.title)

    def item_key(self, brief: Brief, product: Trained | None) -> str:
        """The key of the VLM's part: a product that is trained anew is read anew."""
        return brief.item_digest() + (f"|{product.key}" if product else "")

    def bare(self) -> None:
        """Take off what products have put on: before the denoiser is trained."""
        if self._loras is not None:
            self._loras.clear()
            self._loras = None

    def _wear(self, product: Trained | None) -> None:
        if product is None and self._loras is None:
            return
        from icg.products.lora import Loras

        if self._loras is None:
            self._loras = Loras(self.family, {})
        if product is None:
            self._loras.use("")
        else:
            self._loras.wear(product)

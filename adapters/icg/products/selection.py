"""A pipeline's fine-tuned products: which product a brief names, and whose weights are applied. Draws nothing."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from icg.brief import Brief
from icg.errors import CheckpointError, IcgError, UnknownProduct
from icg.products.library import Library, TrainedProduct, base_of

if TYPE_CHECKING:
    from icg.adapter.model import IcgAdapter
    from icg.models.families import Family
    from icg.products.lora import Loras


class ProductMixin:
    """The part of CoverPipeline that handles fine-tuned products."""

    vlm: Any
    adapter: IcgAdapter
    family: Family
    _products: Library | None = None
    _loras: Loras | None = None

    @cached_property
    def base(self) -> str:
        """Identifies this checkpoint: a product belongs to the one that it was trained on. Read it before low-rank weights are added."""
        return base_of(self.vlm, self.adapter, self.family.denoiser)

    @property
    def products(self) -> Library | None:
        """The products that product_id may name; set it before a scheduler takes over the pipeline."""
        return self._products

    @products.setter
    def products(self, library: Library | None) -> None:
        self._products = library
        if library is not None:
            _ = self.base  # computed now: a scheduler may add low-rank weights

    def product(self, brief: Brief) -> TrainedProduct | None:
        """The product of the brief's product_id, None for "". Raises UnknownProduct for an unknown one, CheckpointError for one of
        another checkpoint."""
        if not brief.product_id:
            return None
        if self.products is None:
            raise UnknownProduct(f"product_id={brief.product_id!r}; allowed: '', this generator has no products")
        product = self.products.get(brief.product_id)
        if product.record.base != self.base:
            raise CheckpointError(
                f"product_id={brief.product_id!r} was trained on {product.record.base_name} ({product.record.base[:12]}); "
                f"allowed: products of this checkpoint ({self.base[:12]})"
            )
        return product

    def plain_title(self, brief: Brief) -> str:
        """The title with a product's class in its place; the title itself if the product was removed meanwhile."""
        if not brief.product_id:
            return brief.title
        try:
            product = self.product(brief)
        except IcgError:
            product = None
        return brief.title if product is None else product.record.plain(brief.title)

    def item_key(self, brief: Brief, product: TrainedProduct | None) -> str:
        """The cache key of the VLM's part; it changes when the product is trained again, and is one for all grounds."""
        return "ground" if brief.ground else brief.item_digest() + (f"|{product.key}" if product else "")

    def bare(self) -> None:
        """Remove products' weights before the denoiser is trained."""
        if self._loras is not None:
            self._loras.clear()
            self._loras = None

    def _wear(self, product: TrainedProduct | None) -> None:
        if product is None and self._loras is None:
            return
        from icg.products.lora import Loras

        if self._loras is None:
            self._loras = Loras(self.family, {})
        if product is None:
            self._loras.use("")
        else:
            self._loras.wear(product)

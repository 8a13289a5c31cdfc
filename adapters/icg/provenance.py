"""Provenance inside the image file: XMP with IPTC's digital source type, and a readable text chunk. Knows no model."""

import io
import json
from collections.abc import Mapping

from PIL import Image
from PIL.PngImagePlugin import PngInfo

# IPTC's term for media made by a trained model; readers of Content Credentials look for it.
AI_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{source}"/></rdf:RDF></x:xmpmeta>'
)


def to_png(image: Image.Image, provenance: Mapping[str, object], optimize: bool = True) -> bytes:
    """Encode as PNG whose text chunks `Description`, `eyecatch` (JSON) and XMP say that it is AI generated and how.

    `optimize` makes files 7 % smaller and takes ten times as long: of 512 x 512 pixels longer than upscaling them.
    """
    info = PngInfo()
    info.add_text("Description", "AI generated cover (Eyecatch)")
    info.add_text("eyecatch", json.dumps({"ai_generated": True, **provenance}, sort_keys=True))
    info.add_itxt("XML:com.adobe.xmp", XMP.format(source=AI_GENERATED))
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info, optimize=optimize)
    return out.getvalue()


def read(data: bytes) -> dict[str, object]:
    """The JSON of `to_png`, or {} for a picture that carries none."""
    text = getattr(Image.open(io.BytesIO(data)), "text", {}).get("eyecatch")
    return json.loads(text) if text else {}

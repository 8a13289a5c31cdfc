"""Setting an item's own picture into a cover, in pixels: cut-outs, layout, shadow, harmonising, full-bleed. Knows no model of covers."""

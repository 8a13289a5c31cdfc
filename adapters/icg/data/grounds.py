from icg.data.compose import Look, _background
import numpy as np
from PIL import Image
def ground(palette, backdrop, seed, side):
    return Image.fromarray(_background(Look("3d",palette,backdrop,"close"), np.random.default_rng(seed), 2*side)).resize((side,side), Image.Resampling.LANCZOS)

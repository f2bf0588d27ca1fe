"""superpos: how many features a layer of a neural network represents, and whether they overlap.

import superpos
table = superpos.measure(model, data, ["layer1", "layer2"])
"""

from superpos.measurement import measure
from superpos.sae import PROTOCOL, PUBLISHED, PUBLISHED_FAST

__all__ = ["PROTOCOL", "PUBLISHED", "PUBLISHED_FAST", "__version__", "measure"]
__version__ = "0.1.0"

"""superpos: how many features a layer of a neural network represents, and whether they overlap.

In a few lines::

    import superpos

    table = superpos.measure(model, data, ["layer1", "layer2"])
    table = superpos.measure_rows(x)  # activations (rows, neurons) at hand
    superpos.top_rows(model, data, "layer1")  # the samples that move the largest codes most
"""

from superpos.counting import COUNTING
from superpos.measurement import measure, measure_rows
from superpos.sae import PROTOCOL, PUBLISHED, PUBLISHED_FAST
from superpos.top import top_rows

__all__ = ["COUNTING", "PROTOCOL", "PUBLISHED", "PUBLISHED_FAST", "__version__", "measure", "measure_rows", "top_rows"]
__version__ = "0.1.0"

"""The former place of what stands in `superpos.measurement`."""

from superpos.measurement import PRODUCTS, Usage, most_active, unexplained

__all__ = ["PRODUCTS", "Usage", "most_active", "unexplained"]

"""Do compressed programs use superposition? Sequence reversal and sorting, compiled into transformers whose every feature is
known, squeezed into fewer and fewer neurons, and the same transformers trained from scratch (Bereska et al. 2025).
"""

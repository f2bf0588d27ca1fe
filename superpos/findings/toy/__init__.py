"""Toy models: their features are known, so that what an SAE counts in their activations can be held against the truth.

Families of toy models of superposition (Elhage et al. 2022) that differ in their sparsity alone are trained, an SAE reads the
activations of each, and the superposition ψ that it finds is compared with that of the weights.
"""

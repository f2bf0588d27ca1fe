"""Grokking: small networks learn arithmetic modulo a prime, first by heart and then, all at once, by its rule. F of their
layers is followed from checkpoint to checkpoint beside the local learning coefficient (LLC), rank, norm and Fourier power, in
networks that generalise and in controls that never do.
"""

"""A language model read site by site: how many features its embedding, attentions, MLPs and residual stream hold, layer by layer.

The model may be any causal one of the Hugging Face hub (the paper's is Pythia-70M), read by released dictionaries, or a
small one of our own that every machine can train, read by SAEs of our own.
"""

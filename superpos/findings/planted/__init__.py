"""Planted features: data whose number of features is known, to hold F against; and what to hold F of a network against."""

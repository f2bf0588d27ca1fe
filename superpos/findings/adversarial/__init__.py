"""Adversarial training and F: classifiers trained with and without attacks, read layer by layer on clean and attacked images.

Two of the paper's hypotheses are judged here: that the slope of F on the radius ε of training falls with the number of
classes (H2, chapter 08), and that it rises with the width of the network (H3, chapter 09).
"""

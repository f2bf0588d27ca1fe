"""Speed beside the peers, and what a measurement costs. `python -m benchmarks --help`"""

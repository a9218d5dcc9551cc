"""Measurements of the real kernels, held against the formulas.

`sweep.sweep_bits` is what `qsgd-lab variance` runs: `distributions` draws a vector, `measurement` quantizes
it many times, `quantizer_tests` compares five sums with the formulas, `statistics` says what is chance.
"""

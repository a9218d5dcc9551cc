"""Measurements of the real kernels, compared with the formulas.

`sweep.sweep_bits` is what `qsgd-lab variance` runs: `distributions` draws a vector, `blocks` cuts it,
`measurement` quantizes it many times, `block_sums` and `quantizer_tests` compare five sums with the
formulas, `statistics` says what is chance. `code_length` is `qsgd-lab code-length`: `message_bits` measures
real messages, `expected_bits` has their expected length, `code_length_bounds` what no vector exceeds.
`convergence` is `qsgd-lab convergence`, on `problems` with a known optimum, SGD in `sgd_runs`. `headline`
is the table of docs/theory.md.
"""

"""The papers' formulas as functions; numpy and scipy only. The page to read is docs/theory.md.

QSGD's quantizer: `level_positions`, `variance`, `sparsity`, `nearest`. Its codes: `elias`, `code_length`
(sparse), `dense_code_length`, `entropy`, `lower_bound`. Other methods: `other_compressors`, `hyper_sphere`.
Training: `error_feedback`, `convergence`, `gradient_descent`, `qsvrg`, `local_sgd`, `cser`, `network`.
Data: `published`. Nothing here imports a kernel; `checks` does, and measures.
"""

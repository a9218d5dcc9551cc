"""The papers' formulas as functions; numpy and scipy only. The page to read is docs/theory.md.

QSGD's quantizer: `level_positions`, `variance`, `sparsity`, `nearest`. Its codes: `elias`, `expected_counts`,
`code_length` (sparse), `dense_code_length`, `every_vector_bits`, `entropy`, `lower_bound`. Other methods:
`other_compressors`, `hyper_sphere`. All beside each other: `tradeoff`, `tradeoff_of_vector`,
`tradeoff_every_vector`. Training: `error_feedback`, `convergence`, `gradient_descent`, `qsvrg`, `local_sgd`,
`cser`, `network`. Data: `published`. Nothing here imports a kernel; `checks` does, and measures.
"""

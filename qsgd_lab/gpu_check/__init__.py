"""What is checked and measured on a CUDA device: the kernels' bits against the CPU's, and their speed."""

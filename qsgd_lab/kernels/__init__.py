"""Quantization kernels: scalar arithmetic stands once; backend files hold only loops and launches."""

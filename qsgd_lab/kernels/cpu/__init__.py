"""Loops over the scalar arithmetic, compiled for the CPU; who wants to be told of compiling is told."""

from qsgd_lab.compilation import listen

listen()

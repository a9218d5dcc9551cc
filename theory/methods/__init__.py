"""Formulas of the compressors, one file a method.

Where a formula is known, a file has two functions that take the method's options as keywords, so that a
command can ask any method:

* ``expected_error(vector, **options)``: E||Q(v) - v||^2 of this vector; of rotated blocks and random
  codebooks the mean over uniformly random rotations;
* ``expected_bits(num_coordinates, **options)``: the bits of scales and codes in one tensor, without the
  envelope of a message.

Options that a formula does not depend on are taken and left aside. None is returned where the options allow
no formula. A wrapper's take, before the options, the wrapped compressor's value and its variance factor, and
are of a node's first gradient. Where two methods share a file, the
functions end in the method's name: ``expected_error_fp16``.
"""

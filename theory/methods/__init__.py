"""Formulas of the compressors, one file a method.

Where a formula is known, a file has two functions that take the method's options as keywords, so that a
command can ask any method:

* ``expected_error(vector, **options)``: E||Q(v) - v||^2 of this vector, exactly;
* ``expected_bits(num_coordinates, **options)``: the bits of scales and codes in one tensor, without the
  envelope of a message.

Options that a formula does not depend on are taken and left aside. Where two methods share a file, the
functions end in the method's name: ``expected_error_fp16``.
"""

"""Wire format 2: messages of every payload kind, one file a kind (docs/wire-format-2.md).

`qsgd_lab.wire.message` has `pack`, `unpack`, `size` and `values`; what they share is the envelope: head,
structure, parameters, key and mask.
"""

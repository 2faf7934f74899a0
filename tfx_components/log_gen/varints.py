"""Numbers of variable length, which Thrift and Protocol Buffers write alike."""

from __future__ import annotations


def read_varint(data: bytes, place: int) -> tuple[int, int]:
  """A number of seven bits to a byte, and the place after it."""
  value = shift = 0
  while True:
    byte = data[place]
    value |= (byte & 127) << shift
    place, shift = place + 1, shift + 7
    if byte < 128:
      return value, place

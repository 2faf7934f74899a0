"""FarmHash fingerprints without a compiler, under the name of the extension module that they replace.

The extension (pyfarmhash) has no wheels, so installing it needs a C++ compiler. Its only user, TensorFlow Data
Validation, calls only the two functions below, on feature names and in skew detection, where speed does not matter.

`fingerprint32` follows FarmHash, https://github.com/google/farmhash, which carries this notice:

Copyright (c) 2014 Google, Inc.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_C1 = 0xCC9E2D51
_C2 = 0x1B873593
_ADD = 0xE6546B64


def fingerprint64(value: str | bytes) -> int:
  """FarmHash Fingerprint64 of a string's UTF-8 bytes, as an unsigned integer."""
  import tensorflow as tf  # Carries FarmHash compiled; whoever imports this module has TensorFlow loaded already.

  fingerprint = tf.raw_ops.Fingerprint(data=tf.constant([_to_bytes(value)]), method="farmhash64")
  return int.from_bytes(fingerprint.numpy().tobytes(), "little")


def fingerprint32(value: str | bytes) -> int:
  """FarmHash Fingerprint32 of a string's UTF-8 bytes, as an unsigned integer."""
  data = _to_bytes(value)
  if len(data) <= 4:
    return _of_0_to_4_bytes(data)
  if len(data) <= 12:
    return _of_5_to_12_bytes(data)
  if len(data) <= 24:
    return _of_13_to_24_bytes(data)
  return _of_more_bytes(data)


def _to_bytes(value: str | bytes) -> bytes:
  return value.encode() if isinstance(value, str) else bytes(value)


def _word(data: bytes, start: int) -> int:
  return int.from_bytes(data[start:start + 4], "little")


def _rotate(value: int, shift: int) -> int:
  value &= _MASK
  return (value >> shift | value << (32 - shift)) & _MASK


def _scramble(value: int) -> int:
  return _rotate(value * _C1, 17) * _C2 & _MASK


def _mix(value: int, state: int) -> int:
  return (_rotate(state ^ _scramble(value), 19) * 5 + _ADD) & _MASK


def _finish(state: int) -> int:
  state = (state ^ state >> 16) * 0x85EBCA6B & _MASK
  state = (state ^ state >> 13) * 0xC2B2AE35 & _MASK
  return state ^ state >> 16


def _of_0_to_4_bytes(data: bytes) -> int:
  state, other = 0, 9
  for byte in data:
    signed = byte - 256 if byte > 127 else byte
    state = (state * _C1 + signed) & _MASK
    other ^= state
  return _finish(_mix(state, _mix(len(data), other)))


def _of_5_to_12_bytes(data: bytes) -> int:
  size = len(data)
  first = size + _word(data, 0)
  second = size * 5 + _word(data, size - 4)
  third = 9 + _word(data, size >> 1 & 4)
  return _finish(_mix(third, _mix(second, _mix(first, size * 5))))


def _of_13_to_24_bytes(data: bytes) -> int:
  size = len(data)
  a, b, c = _word(data, (size >> 1) - 4), _word(data, 4), _word(data, size - 8)
  d, e, f = _word(data, size >> 1), _word(data, 0), _word(data, size - 4)
  state = (d * _C1 + size) & _MASK
  a = _rotate(a, 12) + f
  state = _mix(c, state) + a
  a = _rotate(a, 3) + c
  state = _mix(e, state & _MASK) + a
  a = _rotate(a + f, 12) + d
  return _finish((_mix(b, state & _MASK) + a) & _MASK)


def _of_more_bytes(data: bytes) -> int:
  size = len(data)
  h, g, f = size, _C1 * size & _MASK, _C1 * size & _MASK
  # The five words of the tail, as FarmHash draws them: from the end backwards.
  tail = [_scramble(_word(data, size - offset)) for offset in (4, 8, 16, 12, 20)]
  for word in (tail[0], tail[2]):
    h = (_rotate(h ^ word, 19) * 5 + _ADD) & _MASK
  for word in (tail[1], tail[3]):
    g = (_rotate(g ^ word, 19) * 5 + _ADD) & _MASK
  f = (_rotate(f + tail[4], 19) + 113) & _MASK
  for start in range(0, (size - 1) // 20 * 20, 20):
    a, b, c, d, e = (_word(data, start + offset) for offset in (0, 4, 8, 12, 16))
    h = (_mix(d, (h + a) & _MASK) + e) & _MASK
    g, f = (_mix(c, (g + b) & _MASK) + a) & _MASK, (_mix(b + e * _C1, (f + c) & _MASK) + d) & _MASK
    f = (f + g) & _MASK
    g = (g + f) & _MASK
  for shift in (11, 17):
    g = _rotate(g, shift) * _C1 & _MASK
    f = _rotate(f, shift) * _C1 & _MASK
  for word in (g, f):
    h = (_rotate(h + word, 19) * 5 + _ADD) & _MASK
    h = _rotate(h, 17) * _C1 & _MASK
  return h

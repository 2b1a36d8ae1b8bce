// Sums over the pixels of a window, and what they are made of.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "lanes.h"

namespace planeloc {

constexpr int PER_PLANE = 5;  // numbers that describe a molecule on a plane: x, y and defocus there, photons, background
constexpr int PIXEL_BLOCK = 16;
constexpr int64_t padded(int64_t pixels) { return (pixels + PIXEL_BLOCK - 1) / PIXEL_BLOCK * PIXEL_BLOCK; }

// Natural logarithm of a positive number, without branches: |error| < 2e-8 in single precision.
inline float logarithm(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const int32_t exponent = (bits - 0x3f3504f3) >> 23;  // the mantissa lies between √½ and √2
  bits -= exponent * (1 << 23);
  float mantissa;
  std::memcpy(&mantissa, &bits, sizeof bits);
  const float s = (mantissa - 1) / (mantissa + 1), q = s * s;
  return float(exponent) * 0.69314718056f + s * (2 + q * (2.f / 3 + q * (2.f / 5 + q * (2.f / 7 + q * (2.f / 9)))));
}
inline double logarithm(double value) { return std::log(value); }

// Turn eight positive numbers into their logarithms: |error| < 1e-15.
inline void take_logarithms(Vector<double>::type &values) {
  typedef uint64_t Bits __attribute__((vector_size(LANES * sizeof(uint64_t))));
  const double exponent_offset = 4503599627370496.0 + 1023;  // 2⁵² and the bias of the exponent
  Bits bits;
  std::memcpy(&bits, &values, sizeof bits);
  Bits exponent = (bits + (0x3ff0000000000000 - 0x3fe6a09e667f3bcd)) >> 52;  // the mantissa lies between √½ and √2
  bits -= (exponent - 1023) << 52;
  exponent |= 0x4330000000000000;
  Vector<double>::type mantissa, power;
  std::memcpy(&mantissa, &bits, sizeof bits), std::memcpy(&power, &exponent, sizeof bits);
  const Vector<double>::type s = (mantissa - 1) / (mantissa + 1), q = s * s;
  Vector<double>::type sum = 2.0 / 21 + 0 * q;
  for (int k = 19; k > 0; k -= 2) sum = 2.0 / k + q * sum;
  values = (power - exponent_offset) * 0.6931471805599453094 + s * sum;
}

// Sums over pixels of weighted products of row `A` with it, the rows behind it and, last, the residual.
template <int A, class real>
inline void weighted_products(const real *rows, const real *weight, const real *photons, const real *expected,
                              int64_t pixels, real sums[PER_PLANE][PER_PLANE + 1]) {
  constexpr int STEP = PIXEL_BLOCK * sizeof(float) / sizeof(real);  // pixels whose sums stay in registers
  using Block = Row<real, STEP / LANES>;
  Block partial[PER_PLANE + 1 - A];
  for (int64_t block = 0; block < pixels; block += STEP) {
    Block weighted, residual;
    weighted.add(1, rows + A * pixels + block);
    weighted.multiply(weight + block);
    residual.add(1, photons + block);
    residual.add(-1, expected + block);
    for (int b = A; b < PER_PLANE; ++b) partial[b - A].add_product(weighted, rows + b * pixels + block);
    partial[PER_PLANE - A].add_product(weighted, residual);
  }
  for (int b = A; b <= PER_PLANE; ++b) sums[A][b] = partial[b - A].sum();
  if constexpr (A + 1 < PER_PLANE) weighted_products<A + 1>(rows, weight, photons, expected, pixels, sums);
}

}  // namespace planeloc

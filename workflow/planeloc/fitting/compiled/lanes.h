// Rows of numbers as vectors of the processor: GCC and Clang turn eight lanes into whatever registers there are. And a
// logarithm that they can compute in lanes.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace planeloc {

constexpr int LANES = 8;

template <class real>
struct Vector {
  typedef real type __attribute__((vector_size(LANES * sizeof(real))));
};

// `COUNT` times eight numbers.
template <class real, int COUNT>
struct Row {
  using Lanes = typename Vector<real>::type;
  Lanes part[COUNT] = {};

  static inline void load(const real *from, Lanes &out) { std::memcpy(&out, from, sizeof out); }

  void add(real factor, const real *from) {
    for (int k = 0; k < COUNT; ++k) {
      Lanes values;
      load(from + k * LANES, values);
      part[k] += factor * values;
    }
  }
  void multiply(const real *from) {
    for (int k = 0; k < COUNT; ++k) {
      Lanes values;
      load(from + k * LANES, values);
      part[k] *= values;
    }
  }
  void add_product(const Row &left, const real *right) {
    for (int k = 0; k < COUNT; ++k) {
      Lanes values;
      load(right + k * LANES, values);
      part[k] += left.part[k] * values;
    }
  }
  void add_product(const Row &left, const Row &right) {
    for (int k = 0; k < COUNT; ++k) part[k] += left.part[k] * right.part[k];
  }
  real sum() const {
    Lanes all = part[0];
    for (int k = 1; k < COUNT; ++k) all += part[k];
    real total = 0;
    for (int i = 0; i < LANES; ++i) total += all[i];
    return total;
  }
  void store(real *to) const {
    for (int k = 0; k < COUNT; ++k) std::memcpy(to + k * LANES, &part[k], sizeof part[k]);
  }
};

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

}  // namespace planeloc

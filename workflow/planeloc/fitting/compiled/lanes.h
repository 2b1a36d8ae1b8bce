// Rows of numbers as vectors of the processor: GCC and Clang turn eight lanes into whatever registers there are.
#pragma once

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

// Integers as many and as large as eight numbers.
template <class real>
struct Whole;
template <>
struct Whole<float> {
  typedef int32_t type __attribute__((vector_size(LANES * sizeof(int32_t))));
  static constexpr int MANTISSA = 23, BIAS = 127, TERMS = 8, LEAST = -80;
};
template <>
struct Whole<double> {
  typedef int64_t type __attribute__((vector_size(LANES * sizeof(int64_t))));
  static constexpr int MANTISSA = 52, BIAS = 1023, TERMS = 16, LEAST = -700;
};

// Turn eight numbers that are not positive into their exponentials.
template <class real>
inline void take_exponentials(typename Vector<real>::type &values) {
  using Kind = Whole<real>;
  typedef int32_t Small __attribute__((vector_size(LANES * sizeof(int32_t))));
  values = values > real(Kind::LEAST) ? values : real(Kind::LEAST) + 0 * values;
  const Small power = __builtin_convertvector(values * real(1.4426950408889634), Small);
  const auto rest = values - __builtin_convertvector(power, typename Vector<real>::type) * real(0.6931471805599453);
  typename Vector<real>::type sum = 1 + 0 * rest;
  for (int k = Kind::TERMS; k > 0; --k) sum = 1 + rest * sum / real(k);
  const auto bits = (__builtin_convertvector(power, typename Kind::type) + Kind::BIAS) << Kind::MANTISSA;
  typename Vector<real>::type factor;
  std::memcpy(&factor, &bits, sizeof factor);
  values = sum * factor;
}

// Keeps the first of eight lanes.
template <class real>
struct FirstLanes {
  using Lanes = typename Vector<real>::type;
  Lanes number = {0, 1, 2, 3, 4, 5, 6, 7};

  void keep(int64_t count, Lanes &values) const { values = number < real(count) ? values : Lanes{}; }
};

}  // namespace planeloc

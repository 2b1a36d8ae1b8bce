// Rows of numbers as vectors of the processor: GCC and Clang turn eight lanes into whatever registers there are.
#pragma once

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

}  // namespace planeloc

// Small dense matrices in C order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace planeloc {

// out (rows) += factor · matrix (rows, columns) · vector (columns)
inline void add_product(const double *matrix, const double *vector, int64_t rows, int64_t columns, double factor, double *__restrict out) {
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) sum += matrix[r * columns + c] * vector[c];
    out[r] += factor * sum;
  }
}

// out (columns) += factor · matrixᵀ · vector (rows)
inline void add_transposed(const double *matrix, const double *vector, int64_t rows, int64_t columns, double factor, double *__restrict out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[c] += factor * vector[r] * matrix[r * columns + c];
}

inline double dot(const double *a, const double *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Inverse of a positive definite (SIZE, SIZE) matrix with ones on its diagonal, in place; whether it is one.
template <int SIZE>
inline bool invert_in_place(double *matrix) {
  for (int k = 0; k < SIZE; ++k) {
    double *row = matrix + k * SIZE;
    const double pivot = row[k];
    if (!(pivot > 1e-12)) return false;
    row[k] = 1;
    for (int c = 0; c < SIZE; ++c) row[c] /= pivot;
    for (int r = 0; r < SIZE; ++r) {
      if (r == k) continue;
      double *other = matrix + r * SIZE;
      const double factor = other[k];
      other[k] = 0;
      for (int c = 0; c < SIZE; ++c) other[c] -= factor * row[c];
    }
  }
  return true;
}

// Inverse by elimination, with pivots unless the size is SIZE, of a (size, size) matrix whose unknowns may have any units; not finite if singular.
template <int SIZE = 0>
inline void invert(const double *matrix, int64_t size, double *inverse, std::vector<double> &work) {
  work.resize(size * size + size);
  double *left = work.data(), *scale = left + size * size;
  for (int64_t i = 0; i < size; ++i) scale[i] = 1 / std::sqrt(std::max(matrix[i * size + i], 1e-300));
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j < size; ++j) {
      left[i * size + j] = matrix[i * size + j] * scale[i] * scale[j];
      inverse[i * size + j] = i == j;
    }
  if constexpr (SIZE > 0) {
    double scaled[SIZE * SIZE];
    std::copy_n(left, SIZE * SIZE, scaled);
    if (invert_in_place<SIZE>(scaled)) {
      for (int i = 0; i < SIZE; ++i)
        for (int j = 0; j < SIZE; ++j) inverse[i * SIZE + j] = scaled[i * SIZE + j] * scale[i] * scale[j];
      return;
    }
  }
  for (int64_t column = 0; column < size; ++column) {
    int64_t pivot = column;
    for (int64_t r = column + 1; r < size; ++r)
      if (std::fabs(left[r * size + column]) > std::fabs(left[pivot * size + column])) pivot = r;
    if (pivot != column) {
      std::swap_ranges(left + pivot * size, left + (pivot + 1) * size, left + column * size);
      std::swap_ranges(inverse + pivot * size, inverse + (pivot + 1) * size, inverse + column * size);
    }
    const double over = 1 / left[column * size + column];
    for (int64_t c = 0; c < size; ++c) left[column * size + c] *= over, inverse[column * size + c] *= over;
    for (int64_t r = 0; r < size; ++r) {
      const double factor = left[r * size + column];
      if (r == column || factor == 0) continue;
      for (int64_t c = 0; c < size; ++c) {
        left[r * size + c] -= factor * left[column * size + c];
        inverse[r * size + c] -= factor * inverse[column * size + c];
      }
    }
  }
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j < size; ++j) inverse[i * size + j] *= scale[i] * scale[j];
}

}  // namespace planeloc

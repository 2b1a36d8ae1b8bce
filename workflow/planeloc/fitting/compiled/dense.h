// Small dense matrices in C order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace planeloc {

// out (rows) += factor · matrix (rows, columns) · vector (columns)
inline void add_product(const double *matrix, const double *vector, int64_t rows, int64_t columns, double factor, double *out) {
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) sum += matrix[r * columns + c] * vector[c];
    out[r] += factor * sum;
  }
}

// out (columns) += factor · matrixᵀ · vector (rows)
inline void add_transposed(const double *matrix, const double *vector, int64_t rows, int64_t columns, double factor, double *out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[c] += factor * vector[r] * matrix[r * columns + c];
}

inline double dot(const double *a, const double *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Inverse by elimination with pivots of a (size, size) matrix whose unknowns may have any units; not finite if singular.
inline void invert(const double *matrix, int64_t size, double *inverse, std::vector<double> &work) {
  work.resize(size * size + size);
  double *left = work.data(), *scale = left + size * size;
  for (int64_t i = 0; i < size; ++i) scale[i] = 1 / std::sqrt(std::max(matrix[i * size + i], 1e-300));
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j < size; ++j) {
      left[i * size + j] = matrix[i * size + j] * scale[i] * scale[j];
      inverse[i * size + j] = i == j;
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

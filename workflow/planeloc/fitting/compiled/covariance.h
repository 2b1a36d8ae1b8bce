// Covariance of every molecule of a frame; `covariance_of_molecules` in planeloc/fitting/normal_equations.py explains it
// and has the same in PyTorch.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "normal_equations.h"

namespace planeloc {

class Covariance {
 public:
  explicit Covariance(double least_remaining) : least_remaining_(least_remaining) {}

  // Write (count, size, size), with the drift unknown and known; what the inverse of the information fails for is NaN.
  void write(const Equations &e, const int64_t *pairs, double *out, double *of_known_drift) {
    const int64_t size = e.size, block = size * size, drifts = e.drifts, pair_count = int64_t(e.between.size()) / block;
    alone_.resize(e.count * block), gain_.assign(e.count * size * drifts, 0.0), taken_.assign(e.count * block, 0.0);
    crowded_.assign(e.count, 0), drift_.resize(drifts * drifts);
    Numbers rest = e.about_drift_alone;
    for (int64_t i = 0; i < e.count; ++i) {
      invert_any(e.own.data() + i * block, size, alone_.data() + i * block, work_);
      double *gain = gain_.data() + i * size * drifts;
      const double *with = e.with_drift_alone.data() + i * size * drifts;
      add_matrices(alone_.data() + i * block, with, size, size, drifts, gain);
      for (int64_t k = 0; k < size; ++k)
        for (int64_t r = 0; r < drifts; ++r)
          for (int64_t c = 0; c < drifts; ++c) rest[r * drifts + c] -= with[k * drifts + r] * gain[k * drifts + c];
    }
    if (drifts) invert(rest.data(), drifts, drift_.data(), work_);
    for (int64_t k = 0; k < pair_count; ++k) {
      take(e.between.data() + k * block, false, pairs[2 * k], pairs[2 * k + 1], size);
      take(e.between.data() + k * block, true, pairs[2 * k + 1], pairs[2 * k], size);
    }
    for (int64_t i = 0; i < e.count; ++i) {
      double *covariance = out + i * block;
      std::copy_n(alone_.data() + i * block, block, covariance);
      if (!is_finite(covariance, block) || !is_finite(taken_.data() + i * block, block))
        std::fill_n(covariance, block, NAN);
      else if (crowded_[i])
        beside_neighbours(e.own.data() + i * block, taken_.data() + i * block, size, covariance);
      std::copy_n(covariance, block, of_known_drift + i * block);
      const double *gain = gain_.data() + i * size * drifts;
      product_.assign(size * drifts, 0.0);
      add_matrices(gain, drift_.data(), size, drifts, drifts, product_.data());
      for (int64_t r = 0; r < size; ++r)
        for (int64_t c = 0; c < size; ++c)
          covariance[r * size + c] += dot(product_.data() + r * drifts, gain + c * drifts, drifts);
    }
  }

 private:
  static void invert_any(const double *matrix, int64_t size, double *inverse, Numbers &work) {
    size == 8 ? invert<8>(matrix, size, inverse, work) : invert(matrix, size, inverse, work);
  }

  // out (rows, columns) += a (rows, inner) · b (inner, columns)
  static void add_matrices(const double *a, const double *b, int64_t rows, int64_t inner, int64_t columns, double *out) {
    for (int64_t r = 0; r < rows; ++r) add_transposed(b, a + r * inner, inner, columns, 1, out + r * columns);
  }

  // The information about `molecule` that is lost because its neighbour's place is unknown, too.
  void take(const double *between, bool transposed, int64_t molecule, int64_t neighbour, int64_t size) {
    const double *inverse = alone_.data() + neighbour * size * size;
    double *taken = taken_.data() + molecule * size * size;
    turned_.assign(between, between + size * size);
    for (int64_t r = 0; transposed && r < size; ++r)
      for (int64_t c = 0; c < size; ++c) turned_[r * size + c] = between[c * size + r];
    product_.assign(size * size, 0.0);
    add_matrices(turned_.data(), inverse, size, size, size, product_.data());
    for (int64_t r = 0; r < size; ++r)
      for (int64_t c = 0; c < size; ++c) taken[r * size + c] += dot(product_.data() + r * size, turned_.data() + c * size, size);
    crowded_[molecule] = 1;
  }

  static bool is_finite(const double *values, int64_t count) {
    return std::all_of(values, values + count, [](double value) { return std::isfinite(value); });
  }

  // Covariance with the neighbours unknown; along every direction, these leave a fraction of the information at least.
  void beside_neighbours(const double *own, const double *taken, int64_t size, double *covariance) {
    left_.resize(size * size);
    for (int64_t k = 0; k < size * size; ++k) left_[k] = (1 - least_remaining_) * own[k] - taken[k];
    if (take_root(left_.data(), size)) {
      for (int64_t k = 0; k < size * size; ++k) left_[k] = own[k] - taken[k];
      invert_any(left_.data(), size, covariance, work_);
      return;
    }
    // covariance = root · rootᵀ, and what is taken is diagonal along the axes of rootᵀ · taken · root.
    root_.assign(covariance, covariance + size * size), scale_.resize(size);
    for (int64_t r = 0; r < size; ++r) scale_[r] = std::sqrt(covariance[r * size + r]);
    for (int64_t r = 0; r < size; ++r)
      for (int64_t c = 0; c < size; ++c) root_[r * size + c] /= scale_[r] * scale_[c];
    if (!take_root(root_.data(), size)) {
      std::fill_n(covariance, size * size, NAN);
      return;
    }
    for (int64_t r = 0; r < size; ++r)
      for (int64_t c = 0; c < size; ++c) root_[r * size + c] *= scale_[r];
    product_.assign(size * size, 0.0), left_.assign(size * size, 0.0);
    add_matrices(taken, root_.data(), size, size, size, product_.data());
    for (int64_t k = 0; k < size; ++k)
      for (int64_t r = 0; r < size; ++r)
        for (int64_t c = 0; c < size; ++c) left_[r * size + c] += root_[k * size + r] * product_[k * size + c];
    turn_to_axes(size);
    for (int64_t r = 0; r < size; ++r)
      for (int64_t c = 0; c < size; ++c) {
        double sum = 0;
        for (int64_t k = 0; k < size; ++k)
          sum += root_[r * size + k] * root_[c * size + k] / std::max(1 - left_[k * size + k], least_remaining_);
        covariance[r * size + c] = sum;
      }
  }

  // Lower triangular root of a positive definite matrix, in place; whether it is one.
  static bool take_root(double *matrix, int64_t size) {
    for (int64_t r = 0; r < size; ++r)
      for (int64_t c = 0; c <= r; ++c) {
        const double rest = matrix[r * size + c] - dot(matrix + r * size, matrix + c * size, c);
        if (r == c && !(rest > 0)) return false;
        matrix[r * size + c] = r == c ? std::sqrt(rest) : rest / matrix[c * size + c];
        if (r != c) matrix[c * size + r] = 0;
      }
    return true;
  }

  // Turn `left_` until it is diagonal, and `root_` with it (Jacobi's rotations).
  void turn_to_axes(int64_t size) {
    for (int sweep = 0; sweep < 30; ++sweep) {
      double beside = 0, along = 0;
      for (int64_t r = 0; r < size; ++r)
        for (int64_t c = 0; c < size; ++c) (r == c ? along : beside) += left_[r * size + c] * left_[r * size + c];
      if (!(beside > 1e-30 * along)) return;
      for (int64_t p = 0; p < size; ++p)
        for (int64_t q = p + 1; q < size; ++q) {
          const double apart = left_[p * size + q];
          if (apart == 0) continue;
          const double slope = (left_[q * size + q] - left_[p * size + p]) / (2 * apart);
          const double tangent = (slope < 0 ? -1 : 1) / (std::fabs(slope) + std::sqrt(slope * slope + 1));
          const double cosine = 1 / std::sqrt(tangent * tangent + 1), sine = tangent * cosine;
          auto turn = [&](double &a, double &b) {
            const double first = cosine * a - sine * b;
            b = sine * a + cosine * b, a = first;
          };
          for (int64_t k = 0; k < size; ++k) turn(left_[k * size + p], left_[k * size + q]);
          for (int64_t k = 0; k < size; ++k) turn(left_[p * size + k], left_[q * size + k]);
          for (int64_t k = 0; k < size; ++k) turn(root_[k * size + p], root_[k * size + q]);
        }
    }
  }

  const double least_remaining_;
  std::vector<uint8_t> crowded_;
  Numbers alone_, gain_, taken_, drift_;  // (count, size, size), (count, size, drifts), (count, size, size)
  Numbers turned_, product_, left_, root_, scale_, work_;
};

}  // namespace planeloc

// Normal equations of the molecules of one frame and of its inter-camera drift, and their solution by conjugate
// gradients; planeloc/fitting/normal_equations.py explains them and has the same in PyTorch.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "dense.h"
#include "problem.h"

namespace planeloc {

using Numbers = std::vector<double>;

// Values, steps or gradients of all unknowns of a frame.
struct Unknowns {
  Numbers molecules, drift;

  void resize(int64_t molecule_numbers, int64_t drift_numbers) {
    molecules.assign(molecule_numbers, 0.0), drift.assign(drift_numbers, 0.0);
  }
  void add(double factor, const Unknowns &other) {
    for (size_t i = 0; i < molecules.size(); ++i) molecules[i] += factor * other.molecules[i];
    for (size_t i = 0; i < drift.size(); ++i) drift[i] += factor * other.drift[i];
  }
  void scale_and_add(double factor, const Unknowns &other) {  // factor · this + other
    for (size_t i = 0; i < molecules.size(); ++i) molecules[i] = factor * molecules[i] + other.molecules[i];
    for (size_t i = 0; i < drift.size(); ++i) drift[i] = factor * drift[i] + other.drift[i];
  }
  double product(const Unknowns &other) const {
    return dot(molecules.data(), other.molecules.data(), int64_t(molecules.size())) +
           dot(drift.data(), other.drift.data(), int64_t(drift.size()));
  }
};

struct Equations {
  int64_t count = 0, size = 0, drifts = 0;  // molecules, unknowns of each, drift of the frame
  Numbers own;                              // (count, size, size)
  Numbers between;                          // (pairs, size, size)
  Numbers with_drift, with_drift_alone;     // (count, size, drifts) with what overlaps add, and without
  Numbers about_drift, about_drift_alone;   // (drifts, drifts)
  Numbers drift_gradient;                   // (count, drifts) each molecule's part of the likelihood's
  Unknowns gradient;

  void clear(int64_t molecules, int64_t unknowns, int64_t of_drift, int64_t pairs) {
    count = molecules, size = unknowns, drifts = of_drift;
    own.assign(count * size * size, 0.0), between.assign(pairs * size * size, 0.0);
    with_drift.assign(count * size * drifts, 0.0), with_drift_alone.assign(count * size * drifts, 0.0);
    about_drift.assign(drifts * drifts, 0.0), about_drift_alone.assign(drifts * drifts, 0.0);
    drift_gradient.assign(count * drifts, 0.0);
    gradient.resize(count * size, drifts);
  }
};

class Solver {
 public:
  virtual ~Solver() = default;
  // Steps of all unknowns. `damping` (count, size) times their own information is added to the molecules'.
  virtual void solve(const Equations &equations, const int64_t *pairs, const Numbers &damping, Unknowns &solution) = 0;
};

// For a number of planes that is known when compiled, so that loops over unknowns are unrolled; 0: any number.
template <int PLANES>
class SolverOfPlanes final : public Solver {
 public:
  explicit SolverOfPlanes(const Problem &problem) : p_(problem) {}

  void solve(const Equations &equations, const int64_t *pairs, const Numbers &damping, Unknowns &solution) override {
    e_ = &equations, pairs_ = pairs, pair_count_ = int64_t(equations.between.size()) / (e_->size * e_->size);
    damp_and_prepare(damping);
    precondition(e_->gradient, solution);
    if (!pair_count_) return;
    apply(solution, image_);
    residual_ = e_->gradient;
    residual_.add(-1, image_);
    const double enough = p_.solver_tolerance * p_.solver_tolerance * e_->gradient.product(solution);
    precondition(residual_, preconditioned_);
    direction_ = preconditioned_;
    double product = residual_.product(preconditioned_);
    for (int64_t iteration = 0; iteration < p_.solver_iterations && product > enough; ++iteration) {
      apply(direction_, image_);
      const double curvature = direction_.product(image_);
      if (!(curvature > 0)) return;  // coupling that is kept from an earlier step may not be consistent
      solution.add(product / curvature, direction_);
      residual_.add(-product / curvature, image_);
      precondition(residual_, preconditioned_);
      const double last = product;
      product = residual_.product(preconditioned_);
      direction_.scale_and_add(product / last, preconditioned_);
    }
  }

 private:
  void damp_and_prepare(const Numbers &damping) {
    const int64_t size = PLANES ? 4 + PLANES : e_->size, drifts = PLANES ? 2 * (PLANES - 1) : e_->drifts;
    own_ = e_->own;
    inverse_.resize(own_.size()), gain_.assign(e_->count * size * drifts, 0.0);
    Numbers rest = e_->about_drift_alone;
    for (int64_t i = 0; i < e_->count; ++i) {
      double *own = own_.data() + i * size * size, *inverse = inverse_.data() + i * size * size;
      for (int64_t k = 0; k < size; ++k) own[k * size + k] += damping[i * size + k] * own[k * size + k];
      invert<PLANES ? 4 + PLANES : 0>(own, size, inverse, work_);
      const double *with_drift = e_->with_drift_alone.data() + i * size * drifts;
      double *gain = gain_.data() + i * size * drifts;
      for (int64_t r = 0; r < size; ++r) add_transposed(with_drift, inverse + r * size, size, drifts, 1, gain + r * drifts);
      for (int64_t k = 0; k < size; ++k)
        for (int64_t r = 0; r < drifts; ++r)
          for (int64_t c = 0; c < drifts; ++c) rest[r * drifts + c] -= with_drift[k * drifts + r] * gain[k * drifts + c];
    }
    drift_covariance_.resize(drifts * drifts);
    invert<PLANES ? 2 * (PLANES - 1) : 0>(rest.data(), drifts, drift_covariance_.data(), work_);
  }

  // Exact solution of equations whose molecules do not overlap.
  void precondition(const Unknowns &right, Unknowns &out) {
    const int64_t size = PLANES ? 4 + PLANES : e_->size, drifts = PLANES ? 2 * (PLANES - 1) : e_->drifts;
    out.resize(e_->count * size, drifts);
    Numbers &rest = rest_;
    rest = right.drift;
    for (int64_t i = 0; i < e_->count; ++i)
      add_transposed(gain_.data() + i * size * drifts, right.molecules.data() + i * size, size, drifts, -1, rest.data());
    add_product(drift_covariance_.data(), rest.data(), drifts, drifts, 1, out.drift.data());
    for (int64_t i = 0; i < e_->count; ++i) {
      double *of_molecule = out.molecules.data() + i * size;
      add_transposed(inverse_.data() + i * size * size, right.molecules.data() + i * size, size, size, 1, of_molecule);
      add_product(gain_.data() + i * size * drifts, out.drift.data(), size, drifts, -1, of_molecule);
    }
  }

  // The information times a vector.
  void apply(const Unknowns &vector, Unknowns &out) {
    const int64_t size = PLANES ? 4 + PLANES : e_->size, drifts = PLANES ? 2 * (PLANES - 1) : e_->drifts;
    out.resize(e_->count * size, drifts);
    add_product(e_->about_drift.data(), vector.drift.data(), drifts, drifts, 1, out.drift.data());
    for (int64_t i = 0; i < e_->count; ++i) {
      const double *with_drift = e_->with_drift.data() + i * size * drifts, *values = vector.molecules.data() + i * size;
      add_transposed(own_.data() + i * size * size, values, size, size, 1, out.molecules.data() + i * size);  // symmetric
      add_product(with_drift, vector.drift.data(), size, drifts, 1, out.molecules.data() + i * size);
      add_transposed(with_drift, values, size, drifts, 1, out.drift.data());
    }
    for (int64_t k = 0; k < pair_count_; ++k) {
      const int64_t first = pairs_[2 * k] * size, second = pairs_[2 * k + 1] * size;
      const double *between = e_->between.data() + k * size * size;
      add_product(between, vector.molecules.data() + second, size, size, 1, out.molecules.data() + first);
      add_transposed(between, vector.molecules.data() + first, size, size, 1, out.molecules.data() + second);
    }
  }

  const Problem &p_;
  const Equations *e_ = nullptr;
  const int64_t *pairs_ = nullptr;
  int64_t pair_count_ = 0;
  Numbers own_, inverse_, gain_, drift_covariance_, rest_, work_;
  Unknowns image_, residual_, preconditioned_, direction_;
};

inline std::unique_ptr<Solver> solver(const Problem &problem) {
  switch (problem.planes) {
    case 2: return std::make_unique<SolverOfPlanes<2>>(problem);
    case 3: return std::make_unique<SolverOfPlanes<3>>(problem);
    case 4: return std::make_unique<SolverOfPlanes<4>>(problem);
    default: return std::make_unique<SolverOfPlanes<0>>(problem);
  }
}

}  // namespace planeloc

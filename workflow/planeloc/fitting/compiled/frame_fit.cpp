// Multi-emitter fit of frames, one after the other; planeloc/fitting/multi_emitter.py explains the iterations and has the
// same in PyTorch.

#include "covariance.h"
#include "frame_model.h"
#include "goodness_of_fit.h"

namespace planeloc {
namespace {

template <class real>
class FrameFit {
 public:
  FrameFit(const Problem &problem, Result &result) : p_(problem), out_(result), model_(problem), goodness_(problem, model_), solver_(solver(problem)) {}

  void run() {
    int64_t row = 0, pair = 0;
    while (row < p_.molecules) {
      const int64_t frame = p_.frame[row], first = row, first_pair = pair;
      while (row < p_.molecules && p_.frame[row] == frame) ++row;
      while (pair < p_.pair_count && p_.pairs[2 * pair] < row) ++pair;
      model_.set_frame(frame, first, row - first, first_pair, pair - first_pair);
      fit();
      write(frame, first, first_pair);
    }
  }

 private:
  void fit() {
    const int64_t count = model_.count(), size = model_.size();
    model_.evaluate(model_.start(), true, now_);
    held_.assign(count, 0);
    Numbers damping(count, p_.first_damping), of_unknowns(count * size);
    std::vector<uint8_t> away(count);
    for (int64_t number = 0; number < p_.iterations; ++number) {
      for (int64_t k = 0; k < count * size; ++k)
        of_unknowns[k] = held_[k / size] && k % size < 3 ? p_.hold : damping[k / size];
      solver_->solve(now_.equations, model_.pairs(), of_unknowns, step_);
      const bool finite = propose();
      for (int64_t i = 0; i < count; ++i) {
        away[i] = !held_[i] && is_away(i);
        if (away[i]) std::copy_n(model_.start().molecules.data() + i * size, 3, proposed_.molecules.data() + i * size);
      }
      model_.evaluate(proposed_, number < p_.coupling_steps, then_);
      const bool better = finite && then_.cost <= now_.cost + p_.cost_tolerance * std::fabs(now_.cost);
      int64_t large = 0;
      for (int64_t i = 0; i < count; ++i) {
        if (away[i] && (better || damping[i] > p_.hold_damping)) held_[i] = 1;
        const bool worse = then_.deviance[i] > now_.deviance[i];
        if (worse)
          damping[i] = std::max(damping[i] * p_.damping_increase, better ? 0 : p_.damping_of_rejected);
        else if (better)
          damping[i] /= p_.damping_decrease;
        damping[i] = std::clamp(damping[i], p_.least_damping, p_.largest_damping);
        large += dot(now_.equations.gradient.molecules.data() + i * size, step_.molecules.data() + i * size, size) > p_.small_step;
      }
      if (!better) continue;
      std::swap(now_, then_);
      if (double(large) <= p_.unfinished * double(count)) break;
    }
  }

  // The unknowns after a step that neither jumps across the window nor turns photons negative; whether it is finite.
  bool propose() {
    proposed_ = now_.at;
    for (const auto *values : {&step_.molecules, &step_.drift})
      for (const double value : *values)
        if (!std::isfinite(value)) return false;
    const double reach = p_.largest_step_px * p_.pixel_nm;
    for (int64_t i = 0; i < model_.count(); ++i) {
      double *molecule = proposed_.molecules.data() + i * model_.size(), *step = step_.molecules.data() + i * model_.size();
      for (int axis = 0; axis < 2; ++axis) molecule[axis] += std::clamp(step[axis], -reach, reach);
      molecule[2] += std::clamp(step[2], -p_.largest_step_z_nm, p_.largest_step_z_nm);
      molecule[3] += std::clamp(step[3], -p_.largest_loss * molecule[3], p_.largest_gain * molecule[3]);
      for (int64_t k = 4; k < model_.size(); ++k) molecule[k] += step[k];
    }
    for (size_t k = 0; k < proposed_.drift.size(); ++k) proposed_.drift[k] += step_.drift[k];
    return true;
  }

  // Whether a molecule is too far from its start, or too dim.
  bool is_away(int64_t i) const {
    const double *molecule = proposed_.molecules.data() + i * model_.size();
    const double *start = model_.start().molecules.data() + i * model_.size(), reach = p_.farthest_px * p_.pixel_nm;
    return std::fabs(molecule[0] - start[0]) > reach || std::fabs(molecule[1] - start[1]) > reach ||
           std::fabs(molecule[2] - start[2]) > p_.farthest_z_nm || molecule[3] < p_.least_photons * start[3];
  }

  void write(int64_t frame, int64_t first, int64_t first_pair) {
    const int64_t count = model_.count(), size = model_.size(), drifts = model_.drifts();
    const Equations &equations = now_.equations;
    std::copy(now_.at.molecules.begin(), now_.at.molecules.end(), out_.unknowns + first * size);
    std::copy(now_.at.drift.begin(), now_.at.drift.end(), out_.drift + frame * drifts);
    out_.cost[frame] = now_.cost;
    std::copy(now_.deviance.begin(), now_.deviance.end(), out_.deviance + first);
    std::copy(held_.begin(), held_.end(), out_.held + first);
    std::copy(equations.own.begin(), equations.own.end(), out_.own + first * size * size);
    std::copy(equations.between.begin(), equations.between.end(), out_.between + first_pair * size * size);
    std::copy(equations.with_drift.begin(), equations.with_drift.end(), out_.moved + first * size * drifts);
    std::copy(equations.gradient.molecules.begin(), equations.gradient.molecules.end(), out_.gradient + first * size);
    std::copy(equations.drift_gradient.begin(), equations.drift_gradient.end(), out_.drift_gradient + first * drifts);
    for (int64_t i = 0; i < count; ++i) out_.pixels[first + i] = model_.used_pixels(i);
    const int64_t window = first * p_.planes * p_.side * p_.side;
    model_.write_residuals(now_.at, static_cast<real *>(out_.residual) + window, static_cast<real *>(out_.weight) + window);
    covariance_.write(equations, model_.pairs(), out_.covariance + first * size * size,
                      out_.of_known_drift + first * size * size);
    goodness_.write(now_, out_.goodness + first);
  }

  const Problem &p_;
  Result &out_;
  FrameModel<real> model_;
  GoodnessOfFit<real> goodness_;
  Covariance covariance_{p_.least_remaining};
  std::unique_ptr<Solver> solver_;
  Evaluation now_, then_;
  Unknowns step_, proposed_;
  std::vector<uint8_t> held_;
};

template <class real>
int run(const Problem &problem, Result &result) noexcept {
  try {
    FrameFit<real>(problem, result).run();
    return 0;
  } catch (const std::bad_alloc &) {
    return 1;
  }
}

}  // namespace
}  // namespace planeloc

extern "C" {

int planeloc_fit_frames_float(const planeloc::Problem *problem, planeloc::Result *result) {
  return planeloc::run<float>(*problem, *result);
}

int planeloc_fit_frames_double(const planeloc::Problem *problem, planeloc::Result *result) {
  return planeloc::run<double>(*problem, *result);
}

// Hash of the sources that this library was built from.
const char *planeloc_sources() { return PLANELOC_SOURCES; }

// Pairs (first, second) of molecules of one frame whose corners on plane 0 are nearer than `reach` along both axes,
// ascending. Writes as many as `pairs` has room for, and returns how many there are.
int64_t planeloc_overlapping_pairs(int64_t molecules, const int64_t *frame, const int64_t *corner, double reach,
                                   int64_t *pairs, int64_t room) {
  int64_t found = 0;
  for (int64_t first = 0; first < molecules; ++first)
    for (int64_t second = first + 1; second < molecules && frame[second] == frame[first]; ++second) {
      const double x = double(corner[2 * first] - corner[2 * second]);
      const double y = double(corner[2 * first + 1] - corner[2 * second + 1]);
      if (std::fabs(x) > reach || std::fabs(y) > reach) continue;
      if (found < room) pairs[2 * found] = first, pairs[2 * found + 1] = second;
      ++found;
    }
  return found;
}
}

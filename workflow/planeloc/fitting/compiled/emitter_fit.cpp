// Fits of single emitters in windows on all planes; planeloc/fitting/single_emitter.py explains them and has the same in
// PyTorch.

#include <new>

#include "dense.h"
#include "unit_images.h"
#include "window_sums.h"

namespace planeloc {
namespace {

using Numbers = std::vector<double>;

// Derivatives of the posterior at some parameters, backgrounds eliminated.
struct Evaluation {
  double cost = 0, information[16], reduced[4], gradient[4];
  Numbers cross, own, of_background;  // (planes, 4), (planes), (planes)
};

class EmitterFit {
 public:
  EmitterFit(const Problem &problem, const EmitterWindows &windows)
      : p_(problem),
        w_(windows),
        inside_(problem.side * problem.side),
        pixels_(padded(inside_ + overhang(problem.side))),
        size_(4 + problem.planes),
        images_(unit_images<double>(problem)),
        rows_(PER_PLANE * pixels_),
        expected_(pixels_),
        variance_(pixels_),
        weight_(pixels_),
        photons_(problem.planes * pixels_),
        use_(problem.planes * pixels_),
        now_(size_),
        proposed_(size_) {
    std::fill_n(rows_.begin() + 4 * pixels_, pixels_, 1.0);
  }

  void run(EmitterResult &out) {
    for (window_ = 0; window_ < w_.count; ++window_) {
      for (int64_t plane = 0; plane < p_.planes; ++plane) {
        const int64_t from = (window_ * p_.planes + plane) * inside_;
        std::copy_n(w_.photons + from, inside_, photons_.begin() + plane * pixels_);
        std::copy_n(w_.use + from, inside_, use_.begin() + plane * pixels_);
      }
      std::copy_n(w_.start + 4 * window_, 4, now_.begin());
      set_first_background();
      out.converged[window_] = fit();
      std::copy(now_.begin(), now_.end(), out.parameters + window_ * size_);
      std::copy_n(here_.information, 16, out.information + 16 * window_);
      describe(out);
    }
  }

 private:
  // Iterate from `now_`, which `here_` is evaluated at; whether it converged.
  bool fit() {
    double damping = w_.first_damping;
    evaluate(now_, here_);
    for (int64_t number = 0; number < w_.iterations; ++number) {
      const bool tiny = propose(damping);
      evaluate(proposed_, there_);
      const bool better = there_.cost <= here_.cost + w_.tolerance;
      if (better) std::swap(here_, there_), std::swap(now_, proposed_);
      damping = std::max(better ? damping / w_.decrease : damping * w_.increase, w_.least_damping);
      if (tiny || damping > w_.hopeless) return true;
    }
    return false;
  }

  // The parameters after a damped step, none of which jumps; whether all of the step is tiny.
  bool propose(double damping) {
    double system[16], inverse[16], scale[4], step[4] = {};
    for (int a = 0; a < 4; ++a) scale[a] = 1 / std::sqrt(std::max(here_.information[5 * a], 1e-30));
    for (int a = 0; a < 4; ++a)
      for (int b = 0; b < 4; ++b) system[4 * a + b] = here_.information[4 * a + b] * scale[a] * scale[b] + (a == b) * damping;
    invert(system, 4, inverse, work_);
    for (int a = 0; a < 4; ++a)
      for (int b = 0; b < 4; ++b) step[a] += scale[a] * inverse[4 * a + b] * here_.reduced[b] * scale[b];
    for (int64_t plane = 0; plane < p_.planes; ++plane)
      proposed_[4 + plane] = now_[4 + plane] + (here_.of_background[plane] - dot(here_.cross.data() + 4 * plane, step, 4)) /
                                                   here_.own[plane];
    const double reach = w_.largest_step_px * p_.pixel_nm;
    const double least[4] = {-reach, -reach, -w_.largest_step_z_nm, -w_.largest_loss * now_[3]};
    const double most[4] = {reach, reach, w_.largest_step_z_nm, w_.largest_gain * now_[3]};
    bool tiny = true;
    for (int a = 0; a < 4; ++a) {
      step[a] = step[a] < least[a] ? least[a] : step[a] > most[a] ? most[a] : step[a];  // NaN stays
      proposed_[a] = now_[a] + step[a];
      tiny = tiny && std::fabs(step[a]) <= (a < 3 ? w_.close_enough : w_.close_enough * now_[3]);
    }
    return tiny;
  }

  // Image of one photon on a plane and its derivatives, in `rows_`, and the expected photons of all pixels.
  void expect(const Numbers &at, int64_t plane) {
    const double *a = w_.axes + 4 * plane, *shift = w_.shifts_nm + 2 * (window_ * p_.planes + plane);
    const double x = a[0] * at[0] + a[1] * at[1] + shift[0], y = a[2] * at[0] + a[3] * at[1] + shift[1];
    double *rows = rows_.data(), *unit = rows + 3 * pixels_;
    images_->write(plane, x, y, p_.depths_nm[plane] - at[2], unit, rows, rows + pixels_, rows + 2 * pixels_);
    const double photons = at[3] * p_.brightness[plane], level = at[4 + plane];
    const double slope = p_.slope[plane], read = p_.read_variance[plane], *use = use_.data() + plane * pixels_;
    for (int64_t k = 0; k < pixels_; ++k) {
      expected_[k] = photons * unit[k] + level;
      variance_[k] = slope * std::max(expected_[k], p_.darkest_photons) + read;
      weight_[k] = use[k] / variance_[k];
    }
  }

  void set_first_background() {
    for (int64_t plane = 0; plane < p_.planes; ++plane) {
      now_[4 + plane] = 0;
      expect(now_, plane);
      double sum = 0, count = 0;
      for (int64_t k = 0; k < inside_; ++k) {
        const double use = use_[plane * pixels_ + k];
        sum += use * (photons_[plane * pixels_ + k] - expected_[k]), count += use;
      }
      now_[4 + plane] = sum / std::max(count, 1.0);
    }
  }

  void evaluate(const Numbers &at, Evaluation &out) {
    out.cost = 0;
    out.cross.assign(4 * p_.planes, 0.0), out.own.assign(p_.planes, 0.0), out.of_background.assign(p_.planes, 0.0);
    std::fill_n(out.information, 16, 0.0), std::fill_n(out.reduced, 4, 0.0);
    for (int64_t plane = 0; plane < p_.planes; ++plane) {
      expect(at, plane);
      out.cost += deviance(plane);
      double sums[PER_PLANE][PER_PLANE + 1] = {};
      weighted_products<0>(rows_.data(), weight_.data(), photons_.data() + plane * pixels_, expected_.data(), pixels_, sums);
      add_plane(at, plane, sums, out);
    }
  }

  // Turn the sums of a plane to the parameters, and eliminate its background.
  void add_plane(const Numbers &at, int64_t plane, double sums[PER_PLANE][PER_PLANE + 1], Evaluation &out) const {
    for (int a = 0; a < PER_PLANE; ++a)
      for (int b = 0; b < a; ++b) sums[a][b] = sums[b][a];
    const double *axes = w_.axes + 4 * plane, share = p_.brightness[plane], photons = at[3] * share;
    double turned[4][PER_PLANE + 1];
    for (int c = 0; c <= PER_PLANE; ++c) {
      turned[0][c] = photons * (axes[0] * sums[0][c] + axes[2] * sums[1][c]);
      turned[1][c] = photons * (axes[1] * sums[0][c] + axes[3] * sums[1][c]);
      turned[2][c] = -photons * sums[2][c];  // defocus = depth − z
      turned[3][c] = share * sums[3][c];
    }
    const double own = std::max(sums[4][4], 1e-30), of_background = sums[4][PER_PLANE];
    double *cross = out.cross.data() + 4 * plane;
    for (int a = 0; a < 4; ++a) cross[a] = turned[a][4];
    for (int a = 0; a < 4; ++a) {
      const double *from = turned[a], row[4] = {photons * (from[0] * axes[0] + from[1] * axes[2]),
                                                photons * (from[0] * axes[1] + from[1] * axes[3]), -photons * from[2],
                                                share * from[3]};
      for (int b = 0; b < 4; ++b) out.information[4 * a + b] += row[b] - cross[a] * cross[b] / own;
      out.reduced[a] += from[PER_PLANE] - cross[a] * of_background / own;
    }
    out.own[plane] = own, out.of_background[plane] = of_background;
  }

  double deviance(int64_t plane) const {
    using Lanes = Vector<double>::type;
    const double slope = p_.slope[plane], shift = p_.read_variance[plane] / slope;
    Lanes sum = {};
    for (int64_t k = 0; k < pixels_; k += LANES) {
      Lanes mean, seen, use;
      std::memcpy(&mean, expected_.data() + k, sizeof mean);
      std::memcpy(&seen, photons_.data() + plane * pixels_ + k, sizeof seen);
      std::memcpy(&use, use_.data() + plane * pixels_ + k, sizeof use);
      mean += shift, seen += shift;
      mean = (mean < 1e-6 ? 1e-6 + 0 * mean : mean) / slope;
      seen = (seen > 0 ? seen : 0 * seen) / slope;
      Lanes ratio = mean / (seen > 0 ? seen : mean);
      take_logarithms(ratio);
      sum += use * 2 * (mean - seen - seen * ratio);
    }
    double total = 0;
    for (int i = 0; i < LANES; ++i) total += sum[i];
    return total;
  }

  // What is left beyond noise, the contrast of the model, and the weighted squares, at `now_`.
  void describe(EmitterResult &out) {
    double left = 0, contrast = 0, squares = 0;
    for (int64_t plane = 0; plane < p_.planes; ++plane) {
      expect(now_, plane);
      double emitted = 0, count = 0;
      for (int64_t k = 0; k < inside_; ++k) {
        const double use = use_[plane * pixels_ + k];
        emitted += use * (expected_[k] - now_[4 + plane]), count += use;
      }
      const double mean = emitted / std::max(count, 1.0) + now_[4 + plane];
      for (int64_t k = 0; k < inside_; ++k) {
        const double use = use_[plane * pixels_ + k], residual = photons_[plane * pixels_ + k] - expected_[k];
        left += use * (residual * residual - variance_[k]);
        contrast += use * (expected_[k] - mean) * (expected_[k] - mean);
        squares += weight_[k] * residual * residual;
      }
    }
    out.left[window_] = left, out.contrast[window_] = contrast, out.squares[window_] = squares;
  }

  const Problem &p_;
  const EmitterWindows &w_;
  int64_t inside_, pixels_, size_, window_ = 0;  // `pixels_`: those of a window with padding
  std::unique_ptr<UnitImages<double>> images_;
  Numbers rows_;  // (5, pixels_): derivatives by x, y and defocus, image of one photon, ones
  Numbers expected_, variance_, weight_, photons_, use_, now_, proposed_, work_;
  Evaluation here_, there_;
};

}  // namespace
}  // namespace planeloc

extern "C" int planeloc_fit_emitters(const planeloc::Problem *problem, const planeloc::EmitterWindows *windows,
                                     planeloc::EmitterResult *result) {
  try {
    planeloc::EmitterFit(*problem, *windows).run(*result);
    return 0;
  } catch (const std::bad_alloc &) {
    return 1;
  }
}

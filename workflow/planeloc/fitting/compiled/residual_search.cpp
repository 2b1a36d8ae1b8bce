// Search for a second molecule in windows with large residuals; planeloc/fitting/residual_search.py explains it and has the
// same in PyTorch. Eight steps are tried at once.

#include <cmath>
#include <new>
#include <vector>

#include "lanes.h"
#include "problem.h"

namespace planeloc {
namespace {

struct SearchedWindows {
  int64_t count, steps;
  const void *residual, *weight;      // (count, planes, side, side) real
  const double *in_window_nm, *axes;  // (count, planes, 2), (count, planes, 2, 2)
  const double *step;                 // (steps, 3): along x and y from the molecule, and depth
};

struct SearchResult {
  int64_t *best;          // (count) step of the largest gain
  double *gain, *photons;  // (count)
};

template <class real>
class Search {
 public:
  Search(const Problem &problem, const SearchedWindows &windows)
      : p_(problem),
        w_(windows),
        side_(problem.side),
        blocks_((windows.steps + LANES - 1) / LANES),
        width_(problem.planes * blocks_ * LANES, 1.0),
        match_(blocks_ * LANES),
        energy_(blocks_ * LANES),
        along_x_(side_),
        along_y_(side_),
        seen_(side_ * side_) {
    for (int64_t plane = 0; plane < p_.planes; ++plane)
      for (int64_t k = 0; k < w_.steps; ++k) {
        const double u = (p_.depths_nm[plane] - w_.step[3 * k + 2]) / p_.focus_depth_nm;
        const double shape = 1 + u * u + p_.asymmetry * u * u * u + p_.quartic * u * u * u * u;
        width_[plane * blocks_ * LANES + k] = p_.waist_nm * std::sqrt(std::max(shape, p_.least_shape));
      }
  }

  void run(SearchResult &out) {
    for (int64_t window = 0; window < w_.count; ++window) {
      std::fill(match_.begin(), match_.end(), real(0)), std::fill(energy_.begin(), energy_.end(), real(0));
      for (int64_t plane = 0; plane < p_.planes; ++plane) add_plane(window, plane);
      out.best[window] = 0, out.gain[window] = 0, out.photons[window] = 0;
      for (int64_t k = 0; k < w_.steps; ++k) {
        const double match = double(match_[k]), energy = std::max(double(energy_[k]), 1e-12);
        const double gain = std::max(match, 0.0) * std::max(match, 0.0) / energy;
        if (k && !(gain > out.gain[window])) continue;
        out.best[window] = k, out.gain[window] = gain, out.photons[window] = match / energy;
      }
    }
  }

 private:
  using Lanes = typename Vector<real>::type;

  void add_plane(int64_t window, int64_t plane) {
    const int64_t at = window * p_.planes + plane, pixels = side_ * side_;
    const real *residual = static_cast<const real *>(w_.residual) + at * pixels;
    const real *weight = static_cast<const real *>(w_.weight) + at * pixels, share = real(p_.brightness[plane]);
    for (int64_t k = 0; k < pixels; ++k) seen_[k] = weight[k] * residual[k];
    const double *place = w_.in_window_nm + 2 * at, *a = w_.axes + 4 * at;
    for (int64_t block = 0; block < blocks_; ++block) {
      Lanes x = {}, y = {}, width = {};
      for (int64_t i = 0; i < LANES; ++i) {
        const int64_t k = std::min(block * LANES + i, w_.steps - 1);
        const double *step = w_.step + 3 * k;
        x[i] = real(place[0] + a[0] * step[0] + a[1] * step[1]);
        y[i] = real(place[1] + a[2] * step[0] + a[3] * step[1]);
        width[i] = real(width_[plane * blocks_ * LANES + k]);
      }
      write_profile(x, width, along_x_), write_profile(y, width, along_y_);
      Lanes match = {}, energy = {};
      for (int64_t r = 0; r < side_; ++r) {
        Lanes of_residual = {}, of_weight = {};
        for (int64_t c = 0; c < side_; ++c) {
          of_residual += seen_[r * side_ + c] * along_x_[c];
          of_weight += weight[r * side_ + c] * (along_x_[c] * along_x_[c]);
        }
        match += along_y_[r] * of_residual;
        energy += along_y_[r] * along_y_[r] * of_weight;
      }
      for (int64_t i = 0; i < LANES; ++i) {
        match_[block * LANES + i] += share * match[i];
        energy_[block * LANES + i] += share * share * energy[i];
      }
    }
  }

  // Share of the photons along one axis, on each pixel.
  void write_profile(const Lanes &place, const Lanes &width, std::vector<Lanes> &out) const {
    const real pixel = real(p_.pixel_nm), root_two_pi = real(2.5066282746310002), root_half = real(0.70710678118654752);
    if (p_.pixel_integration) {
      for (int64_t i = 0; i < side_; ++i)
        for (int k = 0; k < LANES; ++k) {
          const real left = (real(i) * pixel - place[k]) / width[k], right = (real(i + 1) * pixel - place[k]) / width[k];
          out[i][k] = real(0.5) * (std::erf(right * root_half) - std::erf(left * root_half));
        }
      return;
    }
    const Lanes over = 1 / width, factor = over * (pixel / root_two_pi);
    for (int64_t i = 0; i < side_; ++i) {
      const Lanes distance = ((real(i) + real(0.5)) * pixel - place) * over;
      Lanes share = real(-0.5) * distance * distance;
      take_exponentials<real>(share);
      out[i] = factor * share;
    }
  }

  const Problem &p_;
  const SearchedWindows &w_;
  int64_t side_, blocks_;          // `blocks_`: of eight steps
  std::vector<double> width_;      // (planes, steps)
  std::vector<real> match_, energy_;  // (steps)
  std::vector<Lanes> along_x_, along_y_;
  std::vector<real> seen_;
};

template <class real>
int search(const Problem &problem, const SearchedWindows &windows, SearchResult &result) noexcept {
  try {
    Search<real>(problem, windows).run(result);
    return 0;
  } catch (const std::bad_alloc &) {
    return 1;
  }
}

}  // namespace
}  // namespace planeloc

extern "C" {

int planeloc_search_float(const planeloc::Problem *problem, const void *windows, void *result) {
  return planeloc::search<float>(*problem, *static_cast<const planeloc::SearchedWindows *>(windows),
                                 *static_cast<planeloc::SearchResult *>(result));
}

int planeloc_search_double(const planeloc::Problem *problem, const void *windows, void *result) {
  return planeloc::search<double>(*problem, *static_cast<const planeloc::SearchedWindows *>(windows),
                                  *static_cast<planeloc::SearchResult *>(result));
}
}

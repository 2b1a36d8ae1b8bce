// Images of one photon and their derivatives, by a Gaussian and a cubic spline: the formulas of planeloc/psf/gaussian.py
// and planeloc/psf/cubic_spline.py, with the pixels of a row beside each other, so that compilers make vectors of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "problem.h"

namespace planeloc {

constexpr int TAPS = 4;  // cubic B-splines that are not zero at a point

// The four splines that are not zero at a place among the knots, and their slopes per knot spacing.
template <class real>
struct Taps {
  int64_t first = 0;
  real value[TAPS], slope[TAPS];
  bool far = false;  // too far for whole numbers, or not a number

  explicit Taps(real place) {
    far = !(std::fabs(place) < real(1e6));
    if (far) return;
    const real below = std::floor(place), t = place - below, s = 1 - t;
    first = int64_t(below) - 1;
    value[0] = s * s * s / 6;
    value[1] = real(2) / 3 - t * t + t * t * t / 2;
    value[2] = real(2) / 3 - s * s + s * s * s / 2;
    value[3] = t * t * t / 6;
    slope[0] = -s * s / 2;
    slope[1] = real(1.5) * t * t - 2 * t;
    slope[2] = 2 * s - real(1.5) * s * s;
    slope[3] = t * t / 2;
  }
};

inline int64_t floor_division(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

template <class real>
class UnitImages {
 public:
  // `stride`: reals from one row of a window to the next, at least `side`.
  UnitImages(const Problem &problem, int64_t stride)
      : p_(problem), side_(problem.side), stride_(stride), profiles_(6 * stride) {
    if (p_.axial_knots) prepare_spline();
  }

  // Write the image at (x, y) from the window's outer corner, and its derivatives by x, y and defocus, per nm.
  void write(int64_t plane, real x_nm, real y_nm, real defocus_nm, real *unit, real *by_x, real *by_y, real *by_defocus) {
    const real u = defocus_nm / real(p_.focus_depth_nm), a = real(p_.asymmetry), b = real(p_.quartic);
    const real shape = 1 + u * u + a * u * u * u + b * u * u * u * u;
    const real squared_waist = real(p_.waist_nm * p_.waist_nm);
    const real width = std::sqrt(squared_waist * std::max(shape, real(p_.least_shape)));
    const real curve = 2 * u + 3 * a * u * u + 4 * b * u * u * u;
    const real slope = shape > real(p_.least_shape) ? squared_waist / real(p_.focus_depth_nm) * curve : real(0);
    real *x = profiles_.data(), *y = x + 3 * stride_;
    write_profile(x_nm, width, slope / (2 * width), x);
    write_profile(y_nm, width, slope / (2 * width), y);
    for (int64_t row = 0; row < side_; ++row) {
      const real value = y[row], by_place = y[stride_ + row], by_depth = y[2 * stride_ + row];
      const int64_t at = row * stride_;
      for (int64_t i = 0; i < stride_; ++i) {
        unit[at + i] = value * x[i];
        by_x[at + i] = value * x[stride_ + i];
        by_y[at + i] = by_place * x[i];
        by_defocus[at + i] = by_depth * x[i] + value * x[2 * stride_ + i];
      }
    }
    if (p_.axial_knots) add_spline(p_.sets[plane], x_nm, y_nm, defocus_nm, unit, by_x, by_y, by_defocus);
  }

 private:
  // Share of the photons along one axis, and its derivatives by place and by defocus.
  void write_profile(real place, real width, real width_by_defocus, real *out) {
    const real pixel = real(p_.pixel_nm), root_two_pi = real(2.5066282746310002), root_half = real(0.70710678118654752);
    if (!p_.pixel_integration) {
      for (int64_t i = 0; i < side_; ++i) {
        const real distance = ((real(i) + real(0.5)) * pixel - place) / width;
        const real share = std::exp(real(-0.5) * distance * distance) * (pixel / root_two_pi) / width;
        out[i] = share;
        out[stride_ + i] = share * distance / width;
        out[2 * stride_ + i] = share * (distance * distance - 1) / width * width_by_defocus;
      }
      return;
    }
    real edge = -place / width, below = std::erf(edge * root_half), density = std::exp(real(-0.5) * edge * edge) / root_two_pi;
    for (int64_t i = 0; i < side_; ++i) {
      const real next = (real(i + 1) * pixel - place) / width, above = std::erf(next * root_half);
      const real next_density = std::exp(real(-0.5) * next * next) / root_two_pi;
      out[i] = real(0.5) * (above - below);
      out[stride_ + i] = (density - next_density) / width;
      out[2 * stride_ + i] = (edge * density - next * next_density) / width * width_by_defocus;
      edge = next, below = above, density = next_density;
    }
  }

  // Coefficients with zeros around every line, and with the knots of each phase within a pixel beside each other.
  void prepare_spline() {
    const int64_t knots = p_.lateral_knots, every = p_.knots_per_pixel;
    in_phase_ = (knots + every - 1) / every;
    margin_ = stride_ + TAPS;
    width_ = stride_ + TAPS;
    line_ = in_phase_ + margin_ + width_;
    lines_ = every * (side_ - 1) + TAPS;
    table_.assign(p_.set_count * p_.axial_knots * knots * every * line_, real(0));
    const real *from = static_cast<const real *>(p_.coefficients);
    for (int64_t row = 0; row < p_.set_count * p_.axial_knots * knots; ++row)
      for (int64_t i = 0; i < knots; ++i)
        table_[(row * every + i % every) * line_ + margin_ + i / every] = from[row * knots + i];
    slices_.resize(2 * every * width_);
    columns_.resize(3 * lines_ * stride_);
  }

  void add_spline(int64_t set, real x_nm, real y_nm, real defocus_nm, real *unit, real *by_x, real *by_y, real *by_defocus) {
    const real spacing = real(p_.lateral_nm), middle = real(p_.lateral_knots - 1) / 2, half = real(p_.pixel_nm) / 2;
    const Taps<real> x((half - x_nm) / spacing + middle), y((half - y_nm) / spacing + middle);
    const Taps<real> z((defocus_nm - real(p_.first_nm)) / real(p_.axial_nm));
    if (x.far || y.far || z.far || z.first + TAPS <= 0 || z.first >= p_.axial_knots) return;
    if (y.first + lines_ <= 0 || y.first >= p_.lateral_knots) return;
    if (x.first + p_.knots_per_pixel * (side_ - 1) + TAPS <= 0 || x.first >= p_.lateral_knots) return;
    for (int64_t line = 0; line < lines_; ++line) write_columns(set, y.first + line, x, z, line);
    const int64_t block = lines_ * stride_;
    for (int64_t row = 0; row < side_; ++row) {
      const real *values = columns_.data() + row * p_.knots_per_pixel * stride_;
      const real *by_place = values + block, *by_depth = values + 2 * block;
      const int64_t at = row * stride_;
      for (int64_t i = 0; i < stride_; ++i) {
        real sums[4] = {0, 0, 0, 0};
        for (int64_t tap = 0; tap < TAPS; ++tap) {
          const int64_t from = tap * stride_ + i;
          sums[0] += y.value[tap] * values[from];
          sums[1] += y.value[tap] * by_place[from];
          sums[2] -= y.slope[tap] / spacing * values[from];  // a molecule that moves down sees its pixels move up
          sums[3] += y.value[tap] * by_depth[from];
        }
        unit[at + i] += sums[0];
        by_x[at + i] += sums[1];
        by_y[at + i] += sums[2];
        by_defocus[at + i] += sums[3];
      }
    }
  }

  // One line of knots at the pixels' columns: values, derivatives by x and by defocus.
  void write_columns(int64_t set, int64_t knot_line, const Taps<real> &x, const Taps<real> &z, int64_t line) {
    const int64_t block = lines_ * stride_, every = p_.knots_per_pixel;
    real *values = columns_.data() + line * stride_, *by_place = values + block, *by_depth = values + 2 * block;
    std::fill_n(values, stride_, real(0)), std::fill_n(by_place, stride_, real(0)), std::fill_n(by_depth, stride_, real(0));
    if (knot_line < 0 || knot_line >= p_.lateral_knots) return;
    const int64_t first = floor_division(x.first, every);
    contract_depth(set, knot_line, margin_ + first, z);
    for (int64_t tap = 0; tap < TAPS; ++tap) {
      const int64_t knot = x.first + tap, pixel = floor_division(knot, every), phase = knot - pixel * every;
      const real *at_depth = slices_.data() + phase * width_ + (pixel - first), *slope = at_depth + every * width_;
      const real value = x.value[tap], by_x = -x.slope[tap] / real(p_.lateral_nm);
      for (int64_t i = 0; i < stride_; ++i) {
        values[i] += value * at_depth[i];
        by_place[i] += by_x * at_depth[i];
        by_depth[i] += value * slope[i];
      }
    }
  }

  // Part of a line of knots, of every phase, at the molecule's defocus: values and slopes.
  void contract_depth(int64_t set, int64_t knot_line, int64_t start, const Taps<real> &z) {
    const int64_t every = p_.knots_per_pixel;
    for (int64_t phase = 0; phase < every; ++phase) {
      real *value = slices_.data() + phase * width_, *slope = value + every * width_;
      std::fill_n(value, width_, real(0)), std::fill_n(slope, width_, real(0));
      for (int64_t tap = 0; tap < TAPS; ++tap) {
        const int64_t depth = z.first + tap;
        if (depth < 0 || depth >= p_.axial_knots) continue;
        const int64_t row = ((set * p_.axial_knots + depth) * p_.lateral_knots + knot_line) * every + phase;
        const real *from = table_.data() + row * line_ + start;
        const real weight = z.value[tap], weight_of_slope = z.slope[tap] / real(p_.axial_nm);
        for (int64_t i = 0; i < width_; ++i) value[i] += weight * from[i], slope[i] += weight_of_slope * from[i];
      }
    }
  }

  const Problem &p_;
  int64_t side_, stride_;
  int64_t in_phase_ = 0, margin_ = 0, width_ = 0, line_ = 0, lines_ = 0;
  std::vector<real> profiles_, table_, slices_, columns_;
};

}  // namespace planeloc

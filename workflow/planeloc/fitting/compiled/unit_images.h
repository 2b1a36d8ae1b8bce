// Images of one photon and their derivatives, by a Gaussian and a cubic spline: the formulas of planeloc/psf/gaussian.py
// and planeloc/psf/cubic_spline.py, with the pixels of a row beside each other, so that compilers make vectors of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "lanes.h"
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

  // Whether any of `count` splines from the first on is among the knots.
  bool touches(int64_t knots, int64_t count) const { return !far && first + count > 0 && first < knots; }
};

inline int64_t floor_division(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Images of windows whose rows fit into some vectors: their number is known when compiled, so that rows stay in registers.
template <class real>
class UnitImages {
 public:
  virtual ~UnitImages() = default;
  // Write the image at (x, y) from the window's outer corner, and its derivatives by x, y and defocus, per nm; (side,
  // side) each. Up to `overhang` numbers behind an image are overwritten, too.
  virtual void write(int64_t plane, real x_nm, real y_nm, real defocus_nm, real *unit, real *by_x, real *by_y,
                     real *by_defocus) = 0;
};

template <class real, int COUNT>
class UnitImagesOfWidth final : public UnitImages<real> {
 public:
  explicit UnitImagesOfWidth(const Problem &problem) : p_(problem), side_(problem.side) {
    if (p_.axial_knots) prepare_spline();
  }

  void write(int64_t plane, real x_nm, real y_nm, real defocus_nm, real *unit, real *by_x, real *by_y,
             real *by_defocus) override {
    const real u = defocus_nm / real(p_.focus_depth_nm), a = real(p_.asymmetry), b = real(p_.quartic);
    const real shape = 1 + u * u + a * u * u * u + b * u * u * u * u;
    const real squared_waist = real(p_.waist_nm * p_.waist_nm);
    const real width = std::sqrt(squared_waist * std::max(shape, real(p_.least_shape)));
    const real curve = 2 * u + 3 * a * u * u + 4 * b * u * u * u;
    const real slope = shape > real(p_.least_shape) ? squared_waist / real(p_.focus_depth_nm) * curve : real(0);
    Profile x, y;
    write_profile(x_nm, width, slope / (2 * width), x);
    write_profile(y_nm, width, slope / (2 * width), y);
    real taps[TAPS], slopes[TAPS];
    const bool near = p_.axial_knots && spline_columns(p_.sets[plane], x_nm, y_nm, defocus_nm, taps, slopes);
    for (int64_t row = 0; row < side_; ++row) {
      Pixels image, x_slope, y_slope, defocus_slope;
      image.add(y.value[row], x.value);
      x_slope.add(y.value[row], x.by_place);
      y_slope.add(y.by_place[row], x.value);
      defocus_slope.add(y.by_defocus[row], x.value);
      defocus_slope.add(y.value[row], x.by_defocus);
      const real *line = columns_.data() + row * p_.knots_per_pixel * 3 * WIDTH;
      for (int tap = 0; near && tap < TAPS; ++tap, line += 3 * WIDTH) {
        image.add(taps[tap], line);
        x_slope.add(taps[tap], line + WIDTH);
        y_slope.add(slopes[tap], line);
        defocus_slope.add(taps[tap], line + 2 * WIDTH);
      }
      image.store(unit + row * side_);
      x_slope.store(by_x + row * side_);
      y_slope.store(by_y + row * side_);
      defocus_slope.store(by_defocus + row * side_);
    }
  }

 private:
  static constexpr int WIDTH = COUNT * LANES, KNOTS = WIDTH + LANES;  // of one phase that the pixels of a row need
  using Pixels = Row<real, COUNT>;

  // Share of the photons along one axis, and its derivatives.
  struct Profile {
    real value[WIDTH], by_place[WIDTH], by_defocus[WIDTH];
  };

  void write_profile(real place, real width, real width_by_defocus, Profile &out) {
    const real pixel = real(p_.pixel_nm), root_two_pi = real(2.5066282746310002), root_half = real(0.70710678118654752);
    if (!p_.pixel_integration) {
      const real over = 1 / width, factor = pixel / root_two_pi * over, by_width = over * width_by_defocus;
      const typename Vector<real>::type first = {0, 1, 2, 3, 4, 5, 6, 7};
      for (int i = 0; i < WIDTH; i += LANES) {
        const auto distance = ((first + (real(i) + real(0.5))) * pixel - place) * over;
        auto share = real(-0.5) * distance * distance;
        take_exponentials<real>(share);
        share *= factor;
        const auto by_place = share * distance * over, by_defocus = share * (distance * distance - 1) * by_width;
        std::memcpy(out.value + i, &share, sizeof share);
        std::memcpy(out.by_place + i, &by_place, sizeof by_place);
        std::memcpy(out.by_defocus + i, &by_defocus, sizeof by_defocus);
      }
      return;
    }
    std::fill_n(out.value, WIDTH, real(0)), std::fill_n(out.by_place, WIDTH, real(0)), std::fill_n(out.by_defocus, WIDTH, real(0));
    real edge = -place / width, below = std::erf(edge * root_half), density = std::exp(real(-0.5) * edge * edge) / root_two_pi;
    for (int64_t i = 0; i < side_; ++i) {
      const real next = (real(i + 1) * pixel - place) / width, above = std::erf(next * root_half);
      const real next_density = std::exp(real(-0.5) * next * next) / root_two_pi;
      out.value[i] = real(0.5) * (above - below);
      out.by_place[i] = (density - next_density) / width;
      out.by_defocus[i] = (edge * density - next * next_density) / width * width_by_defocus;
      edge = next, below = above, density = next_density;
    }
  }

  // Coefficients with the knots of each phase within a pixel beside each other.
  void prepare_spline() {
    const int64_t knots = p_.lateral_knots, every = p_.knots_per_pixel, rows = p_.set_count * p_.axial_knots * knots;
    in_phase_ = ((knots + every - 1) / every + LANES - 1) / LANES * LANES;
    lines_ = every * (side_ - 1) + TAPS;
    table_.assign(rows * every * in_phase_, real(0));
    const real *from = static_cast<const real *>(p_.coefficients);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < knots; ++i) table_[(row * every + i % every) * in_phase_ + i / every] = from[row * knots + i];
    zeros_.assign(in_phase_, real(0));
    slices_.assign(lines_ * every * 2 * (in_phase_ + 2 * KNOTS), real(0));
    columns_.resize(3 * lines_ * WIDTH);
  }

  // Lines of knots at the pixels' columns, and the weights of four lines in a row of pixels; false beyond the spline.
  bool spline_columns(int64_t set, real x_nm, real y_nm, real defocus_nm, real *taps, real *slopes) {
    const real spacing = real(p_.lateral_nm), middle = real(p_.lateral_knots - 1) / 2, half = real(p_.pixel_nm) / 2;
    Taps<real> x((half - x_nm) / spacing + middle), y((half - y_nm) / spacing + middle);
    for (real &slope : x.slope) slope /= -spacing;  // a molecule that moves right sees its pixels move left
    Taps<real> z((defocus_nm - real(p_.first_nm)) / real(p_.axial_nm));
    for (real &slope : z.slope) slope /= real(p_.axial_nm);
    if (!z.touches(p_.axial_knots, TAPS) || !x.touches(p_.lateral_knots, lines_) || !y.touches(p_.lateral_knots, lines_))
      return false;
    // All of the first step before the second: a processor waits where it reads across numbers that it just wrote.
    const int64_t first = std::max<int64_t>(0, -y.first), last = std::min(lines_, p_.lateral_knots - y.first);
    contract_depth(set, y.first, first, last, z);
    if (first > 0) std::fill_n(columns_.begin(), 3 * WIDTH * first, real(0));
    if (last < lines_) std::fill(columns_.begin() + 3 * WIDTH * last, columns_.end(), real(0));
    write_columns(x, first, last);
    for (int tap = 0; tap < TAPS; ++tap) {
      taps[tap] = y.value[tap];
      slopes[tap] = -y.slope[tap] / spacing;
    }
    return true;
  }

  // Numbers of a line of knots at one depth: values and slopes of every phase, with zeros around them.
  int64_t slice() const { return 2 * p_.knots_per_pixel * (in_phase_ + 2 * KNOTS); }

  // Lines of knots [first, last) at the molecule's defocus, of which line 0 is knot `offset`.
  void contract_depth(int64_t set, int64_t offset, int64_t first, int64_t last, const Taps<real> &z) {
    const int64_t every = p_.knots_per_pixel, next = in_phase_ + 2 * KNOTS;
    const real *from[TAPS];
    int64_t step[TAPS];  // from one line of knots to the next; 0 beyond the depths that were measured
    for (int tap = 0; tap < TAPS; ++tap) {
      const int64_t depth = z.first + tap, line = (set * p_.axial_knots + depth) * p_.lateral_knots + offset + first;
      const bool measured = depth >= 0 && depth < p_.axial_knots;
      from[tap] = measured ? table_.data() + line * every * in_phase_ : zeros_.data();
      step[tap] = measured ? in_phase_ : 0;
    }
    real *out = slices_.data() + first * slice() + KNOTS;
    for (int64_t k = 0; k < (last - first) * every; ++k, out += 2 * next) {
      for (int64_t i = 0; i < in_phase_; i += LANES) {
        Row<real, 1> value, slope;
        for (int tap = 0; tap < TAPS; ++tap) {
          value.add(z.value[tap], from[tap] + i);
          slope.add(z.slope[tap], from[tap] + i);
        }
        value.store(out + i), slope.store(out + next + i);
      }
      for (int tap = 0; tap < TAPS; ++tap) from[tap] += step[tap];
    }
  }

  // Lines [first, last) of knots at the pixels' columns: (3, WIDTH) values, derivatives by x and by defocus each.
  void write_columns(const Taps<real> &x, int64_t first, int64_t last) {
    const int64_t every = p_.knots_per_pixel, next = in_phase_ + 2 * KNOTS, column = floor_division(x.first, every);
    int64_t at[TAPS], pixel = KNOTS + column, phase = x.first - column * every;
    for (int tap = 0; tap < TAPS; ++tap) {
      at[tap] = 2 * phase * next + pixel;
      if (++phase == every) phase = 0, ++pixel;
    }
    const real *from = slices_.data() + first * slice();
    real *out = columns_.data() + 3 * WIDTH * first;
    for (int64_t line = first; line < last; ++line, from += slice(), out += 3 * WIDTH) {
      Pixels values, by_place, by_depth;
      for (int tap = 0; tap < TAPS; ++tap) {
        const real *value = from + at[tap];
        values.add(x.value[tap], value);
        by_place.add(x.slope[tap], value);
        by_depth.add(x.value[tap], value + next);
      }
      values.store(out), by_place.store(out + WIDTH), by_depth.store(out + 2 * WIDTH);
    }
  }

  const Problem &p_;
  int64_t side_, in_phase_ = 0, lines_ = 0;  // numbers of one phase in a line of knots, padded; lines for a window
  std::vector<real> zeros_, table_, slices_, columns_;
};

// Vectors in a row of a window; Python refuses windows that are larger.
constexpr int64_t vectors_in_row(int64_t side) { return side <= 16 ? 2 : side <= 24 ? 3 : side <= 32 ? 4 : 8; }

// Numbers behind an image that are overwritten.
constexpr int64_t overhang(int64_t side) { return vectors_in_row(side) * LANES - side; }

template <class real>
std::unique_ptr<UnitImages<real>> unit_images(const Problem &problem) {
  switch (vectors_in_row(problem.side)) {
    case 2: return std::make_unique<UnitImagesOfWidth<real, 2>>(problem);
    case 3: return std::make_unique<UnitImagesOfWidth<real, 3>>(problem);
    case 4: return std::make_unique<UnitImagesOfWidth<real, 4>>(problem);
    default: return std::make_unique<UnitImagesOfWidth<real, 8>>(problem);
  }
}

}  // namespace planeloc

// Product of a spline's normal equations with a vector, bead by bead; planeloc/calibration/spline_equations.py explains
// the equations and has the same in PyTorch. Of a basis along an axis, only the four functions that are not zero are used.

#include <algorithm>
#include <cstdint>
#include <new>
#include <vector>

namespace planeloc {
namespace {

constexpr int TAPS = 4, BLOCK = 16;

struct SplineEquations {
  int64_t beads, slices, rows, columns;       // of the windows
  int64_t axial, lateral, bases, terms;       // knots; bases along x and along y; products of these
  const float *x, *y;                         // (bases, beads, columns or rows, 4)
  const int64_t *first_x, *first_y;           // (beads, columns or rows) first of four knots
  const float *z;                             // (beads, slices, terms, 4)
  const int64_t *first_z;                     // (beads, slices)
  const int64_t *x_of_term, *y_of_term;       // (terms)
  const float *weights, *weight_sum;          // (beads, slices, rows, columns), (beads, slices)
};

// out += the sum of four lines of `from`, `step` apart
inline void add_lines(float *__restrict out, const float *taps, const float *__restrict from, int64_t step, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    out[i] += taps[0] * from[i] + taps[1] * from[step + i] + taps[2] * from[2 * step + i] + taps[3] * from[3 * step + i];
}

// Add `from`, four times weighted, to four lines of `out`, `step` apart
inline void add_to_lines(float *__restrict out, const float *taps, const float *__restrict from, int64_t step, int64_t count) {
  float *__restrict second = out + step, *__restrict third = second + step, *__restrict fourth = third + step;
  const float one = taps[0], two = taps[1], three = taps[2], four = taps[3];
  for (int64_t i = 0; i < count; ++i) {
    out[i] += one * from[i], second[i] += two * from[i];
    third[i] += three * from[i], fourth[i] += four * from[i];
  }
}

class Normal {
 public:
  explicit Normal(const SplineEquations &equations)
      : e_(equations),
        depths_((equations.axial + 7) / 8 * 8),
        line_(equations.lateral * depths_),
        pixels_(equations.rows * equations.columns),
        coefficients_(equations.lateral * line_),
        gradient_(equations.lateral * line_),
        along_x_(equations.bases * equations.columns * line_),
        along_y_(equations.terms * pixels_ * depths_),
        by_depth_(equations.terms * equations.axial * pixels_),
        image_(pixels_) {}

  // `in` and `out`: (axial, lateral, lateral), knots along y before those along x.
  void apply(const float *in, float *out) {
    const int64_t lateral = e_.lateral;
    for (int64_t a = 0; a < e_.axial; ++a)
      for (int64_t r = 0; r < lateral; ++r)
        for (int64_t c = 0; c < lateral; ++c) coefficients_[c * line_ + r * depths_ + a] = in[(a * lateral + r) * lateral + c];
    std::fill(gradient_.begin(), gradient_.end(), 0.f);
    for (int64_t bead = 0; bead < e_.beads; ++bead) {
      to_depths(bead);
      through_images(bead);
      from_depths(bead);
    }
    for (int64_t a = 0; a < e_.axial; ++a)
      for (int64_t r = 0; r < lateral; ++r)
        for (int64_t c = 0; c < lateral; ++c) out[(a * lateral + r) * lateral + c] = gradient_[c * line_ + r * depths_ + a];
  }

 private:
  const float *taps_x(int64_t basis, int64_t bead, int64_t column) const {
    return e_.x + ((basis * e_.beads + bead) * e_.columns + column) * TAPS;
  }
  const float *taps_y(int64_t basis, int64_t bead, int64_t row) const {
    return e_.y + ((basis * e_.beads + bead) * e_.rows + row) * TAPS;
  }

  // Sums along x and y: of every term, the pixels of every depth.
  void to_depths(int64_t bead) {
    std::fill(along_x_.begin(), along_x_.end(), 0.f);
    for (int64_t basis = 0; basis < e_.bases; ++basis)
      for (int64_t column = 0; column < e_.columns; ++column) {
        const float *from = coefficients_.data() + e_.first_x[bead * e_.columns + column] * line_;
        float *to = along_x_.data() + (basis * e_.columns + column) * line_;
        add_lines(to, taps_x(basis, bead, column), from, line_, line_);
      }
    std::fill(along_y_.begin(), along_y_.end(), 0.f);
    for (int64_t term = 0; term < e_.terms; ++term)
      for (int64_t row = 0; row < e_.rows; ++row)
        for (int64_t column = 0; column < e_.columns; ++column) {
          const float *from = along_x_.data() + (e_.x_of_term[term] * e_.columns + column) * line_ +
                              e_.first_y[bead * e_.rows + row] * depths_;
          float *to = along_y_.data() + (term * pixels_ + row * e_.columns + column) * depths_;
          add_lines(to, taps_y(e_.y_of_term[term], bead, row), from, depths_, depths_);
        }
    transpose<true>();
  }

  // The images of all slices, without their backgrounds and weighted, and back to depths.
  void through_images(int64_t bead) {
    from_images_.assign(by_depth_.size(), 0.f);
    for (int64_t slice = 0; slice < e_.slices; ++slice) {
      const int64_t at = bead * e_.slices + slice;
      const float *weight = e_.weights + at * pixels_;
      std::fill(image_.begin(), image_.end(), 0.f);
      for (int64_t term = 0; term < e_.terms; ++term)
        add_lines(image_.data(), e_.z + (at * e_.terms + term) * TAPS, by_depth_.data() + depth(term, at), pixels_, pixels_);
      double sum = 0;
      for (int64_t k = 0; k < pixels_; ++k) sum += double(weight[k]) * double(image_[k]);
      const float mean = float(sum / double(e_.weight_sum[at]));
      for (int64_t k = 0; k < pixels_; ++k) image_[k] = weight[k] * (image_[k] - mean);
      for (int64_t term = 0; term < e_.terms; ++term)
        add_to_lines(from_images_.data() + depth(term, at), e_.z + (at * e_.terms + term) * TAPS, image_.data(), pixels_, pixels_);
    }
    std::swap(by_depth_, from_images_);
    transpose<false>();
  }

  // Where the pixels of a slice's first depth begin.
  int64_t depth(int64_t term, int64_t at) const { return (term * e_.axial + e_.first_z[at]) * pixels_; }

  void from_depths(int64_t bead) {
    std::fill(along_x_.begin(), along_x_.end(), 0.f);
    for (int64_t term = 0; term < e_.terms; ++term)
      for (int64_t row = 0; row < e_.rows; ++row)
        for (int64_t column = 0; column < e_.columns; ++column) {
          float *to = along_x_.data() + (e_.x_of_term[term] * e_.columns + column) * line_ +
                      e_.first_y[bead * e_.rows + row] * depths_;
          const float *from = along_y_.data() + (term * pixels_ + row * e_.columns + column) * depths_;
          add_to_lines(to, taps_y(e_.y_of_term[term], bead, row), from, depths_, depths_);
        }
    for (int64_t basis = 0; basis < e_.bases; ++basis)
      for (int64_t column = 0; column < e_.columns; ++column) {
        float *to = gradient_.data() + e_.first_x[bead * e_.columns + column] * line_;
        const float *from = along_x_.data() + (basis * e_.columns + column) * line_;
        add_to_lines(to, taps_x(basis, bead, column), from, line_, line_);
      }
  }

  // Between the depths of every pixel and the pixels of every depth, in blocks that fit into the cache.
  template <bool TO_PIXELS>
  void transpose() {
    for (int64_t term = 0; term < e_.terms; ++term)
      for (int64_t block = 0; block < pixels_; block += BLOCK)
        for (int64_t a = 0; a < e_.axial; ++a)
          for (int64_t k = block; k < std::min(block + BLOCK, pixels_); ++k) {
            float &pixel = by_depth_[(term * e_.axial + a) * pixels_ + k], &depth = along_y_[(term * pixels_ + k) * depths_ + a];
            if (TO_PIXELS)
              pixel = depth;
            else
              depth = pixel;
          }
  }

  const SplineEquations &e_;
  int64_t depths_, line_, pixels_;  // `depths_`: knots along z, padded; `line_`: those of a line along y
  std::vector<float> coefficients_, gradient_;  // (lateral along x, lateral along y, depths_)
  std::vector<float> along_x_;                  // (bases, columns, lateral, depths_)
  std::vector<float> along_y_;                  // (terms, rows, columns, depths_)
  std::vector<float> by_depth_, from_images_;   // (terms, axial, rows, columns)
  std::vector<float> image_;                    // (rows, columns)
};

}  // namespace
}  // namespace planeloc

extern "C" int planeloc_spline_normal(const void *equations, const float *in, float *out) {
  try {
    planeloc::Normal(*static_cast<const planeloc::SplineEquations *>(equations)).apply(in, out);
    return 0;
  } catch (const std::bad_alloc &) {
    return 1;
  }
}

// A localization is a 3D Gaussian with its own standard deviations along x, y and z. Its projection is a 2D Gaussian,
// drawn as one point: the point covers three standard deviations, the fragments weigh it. All are added up (so that no
// order matters), colour times weight in rgb and weight in a; the second pass turns the sum into a picture, as
// `planeloc render` does: mean colour, brightness from the summed weight.

export const spotVertex = /* glsl */ `
in vec4 sd;
in float time;
uniform sampler2D colours;
uniform int colourBy;          // 0 depth, 1 time, 2 precision
uniform vec2 colourRange;      // of depth or precision, nm
uniform vec2 sdCode;           // log2 of the smallest standard deviation, and of the ratio of two steps
uniform vec3 low, high;        // limits of what is shown
uniform float middleZ;
uniform float pixelsPerNm, spotSize, gain, largestPoint;
flat out vec3 colour;
flat out vec3 inverse;         // of the covariance in pixels: xx, xy, yy
flat out float amplitude;
flat out float size;

const float REACH = 3.0;
const float PIXEL_VARIANCE = 0.25;  // no spot is narrower than a pixel

void main() {
  if (any(lessThan(position, low)) || any(greaterThan(position, high))) {
    gl_Position = vec4(0.0, 0.0, 2.0, 1.0);  // beyond the far plane: not drawn
    gl_PointSize = 1.0;
    return;
  }
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
  vec3 sigma = exp2(sdCode.x + sdCode.y * sd.xyz);
  vec3 variance = sigma * sigma * (spotSize * spotSize * pixelsPerNm * pixelsPerNm);
  vec3 right = vec3(modelViewMatrix[0].x, modelViewMatrix[1].x, modelViewMatrix[2].x);
  vec3 up = vec3(modelViewMatrix[0].y, modelViewMatrix[1].y, modelViewMatrix[2].y);
  float xx = dot(right * right, variance) + PIXEL_VARIANCE;
  float xy = dot(right * up, variance);
  float yy = dot(up * up, variance) + PIXEL_VARIANCE;
  float largest = 0.5 * (xx + yy) + sqrt(0.25 * (xx - yy) * (xx - yy) + xy * xy);
  size = 2.0 * REACH * sqrt(largest);
  float shrink = min(1.0, largestPoint / size);  // a device draws points up to some size
  size *= shrink;
  vec3 covariance = vec3(xx, xy, yy) * (shrink * shrink);
  float determinant = covariance.x * covariance.z - covariance.y * covariance.y;
  inverse = vec3(covariance.z, -covariance.y, covariance.x) / determinant;
  amplitude = gain * pixelsPerNm * pixelsPerNm / (6.2831853 * sqrt(determinant));
  gl_PointSize = size;

  float value = position.z + middleZ;
  if (colourBy == 2) value = sqrt(0.5 * (sigma.x * sigma.x + sigma.y * sigma.y));
  float share = colourBy == 1 ? time : (value - colourRange.x) / (colourRange.y - colourRange.x);
  colour = texelFetch(colours, ivec2(int(clamp(share, 0.0, 1.0) * 255.0 + 0.5), 0), 0).rgb;
}`;

export const spotFragment = /* glsl */ `
precision highp float;
flat in vec3 colour;
flat in vec3 inverse;
flat in float amplitude;
flat in float size;
layout(location = 0) out vec4 sum;

void main() {
  vec2 d = (gl_PointCoord - 0.5) * vec2(size, -size);
  float distance = inverse.x * d.x * d.x + 2.0 * inverse.y * d.x * d.y + inverse.z * d.y * d.y;
  if (distance > 9.0) discard;
  float weight = amplitude * exp(-0.5 * distance);
  sum = vec4(colour * weight, weight);
}`;

export const fullVertex = /* glsl */ `
out vec2 place;
void main() {
  place = position.xy * 0.5 + 0.5;
  gl_Position = vec4(position.xy, 0.0, 1.0);
}`;

/** The picture; `white` is the weight of full brightness. */
export const pictureFragment = /* glsl */ `
precision highp float;
uniform sampler2D sums;
uniform float white, gamma;
in vec2 place;
layout(location = 0) out vec4 picture;
void main() {
  vec4 sum = texture(sums, place);
  float brightness = pow(clamp(sum.a / white, 0.0, 1.0), gamma);
  picture = vec4(sum.rgb / max(sum.a, 1e-6) * brightness, 1.0);
}`;

/** Weights of some pixels, as two bytes of their logarithm, to be read back for the automatic brightness. */
export const sampleFragment = /* glsl */ `
precision highp float;
uniform sampler2D sums;
in vec2 place;
layout(location = 0) out vec4 code;
void main() {
  float weight = texture(sums, place).a;
  float share = weight > 0.0 ? clamp((log2(weight) + 24.0) / 40.0, 0.0, 1.0) * 65535.0 : 0.0;
  float upper = floor(share / 256.0);
  code = vec4(upper / 255.0, floor(share - 256.0 * upper) / 255.0, 0.0, 1.0);
}`;

// What stands over the picture, drawn into a second canvas: box of the limits, axes, scale bar, bar of the colours.
import { Vector3 } from "three";

const INK = "#ffffff";
const DIM = "rgba(255, 255, 255, 0.45)";
const FONT = "13px system-ui, sans-serif";
const MARGIN = 16;
const AXES = ["x", "y", "z"];

/** The largest 1, 2 or 5 times a power of ten that is not above `about`. */
export function niceLength(about) {
  const power = 10 ** Math.floor(Math.log10(about));
  return [5, 2, 1].map((step) => step * power).find((length) => length <= about * (1 + 1e-9)) ?? power;
}

/** Whether a view has no room at its side: the bar of the colours then lies at the top. */
export const narrow = (width, height) => width < Math.max(600, 1.2 * height);

export function lengthText(nm) {
  const text = Math.abs(nm) >= 1000 ? `${+(nm / 1000).toPrecision(3)} µm` : `${+nm.toPrecision(3)} nm`;
  return text.replace("-", "−");
}

export class Overlay {
  constructor(canvas, colours) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.colours = colours;
  }

  resize(width, height, ratio) {
    this.width = width;
    this.height = height;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  /** `view`: camera, box (low, high), showBox, colour (title, low, high, texts), note. Returns the length of the bar, nm. */
  draw(view) {
    const { context, width, height } = this;
    context.clearRect(0, 0, width, height);
    context.font = FONT;
    context.lineJoin = "round";
    if (view.showBox) this.#box(view.camera, view.low, view.high);
    this.#axes(view.camera);
    const length = this.#scaleBar(view.camera);
    this.#colourBar(view.colour);
    this.#text(view.note, MARGIN, narrow(width, height) ? MARGIN + 34 : MARGIN, "left", "top");
    return length;
  }

  #text(text, x, y, align, baseline, colour = INK) {
    const { context } = this;
    context.textAlign = align;
    context.textBaseline = baseline;
    context.lineWidth = 3;
    context.strokeStyle = "rgba(0, 0, 0, 0.75)"; // readable over bright structures
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }

  #project(camera, x, y, z) {
    const at = new Vector3(x, y, z).project(camera);
    return [((at.x + 1) / 2) * this.width, ((1 - at.y) / 2) * this.height];
  }

  #box(camera, low, high) {
    const { context } = this;
    const corner = (bits) => this.#project(camera, ...[0, 1, 2].map((axis) => (bits & (1 << axis) ? high : low)[axis]));
    context.strokeStyle = DIM;
    context.lineWidth = 1;
    context.beginPath();
    for (let axis = 0; axis < 3; axis++) {
      for (let bits = 0; bits < 8; bits++) {
        if (bits & (1 << axis)) continue;
        context.moveTo(...corner(bits));
        context.lineTo(...corner(bits | (1 << axis)));
      }
    }
    context.stroke();
  }

  #axes(camera) {
    const { context } = this;
    const middle = [MARGIN + 34, this.height - MARGIN - 34];
    const ends = AXES.map((name, axis) => {
      const direction = new Vector3().setComponent(axis, 1).transformDirection(camera.matrixWorldInverse);
      return { name, x: 26 * direction.x, y: -26 * direction.y, depth: direction.z };
    });
    for (const { name, x, y } of ends.sort((a, b) => a.depth - b.depth)) {
      context.strokeStyle = INK;
      context.lineWidth = 1.5;
      context.beginPath();
      context.moveTo(...middle);
      context.lineTo(middle[0] + x, middle[1] + y);
      context.stroke();
      const long = Math.hypot(x, y);
      if (long > 5) this.#text(name, middle[0] + x * (1 + 9 / long), middle[1] + y * (1 + 9 / long), "center", "middle");
    }
  }

  /** A bar of at most a sixth of the width, or of 70 pixels; true everywhere, because the projection is parallel. */
  #scaleBar(camera) {
    const { context, width, height } = this;
    const length = niceLength(Math.max(width / 6, 70) / camera.zoom);
    const pixels = length * camera.zoom;
    const left = width - MARGIN - pixels;
    const top = height - MARGIN - 5;
    context.fillStyle = INK;
    context.fillRect(left, top, pixels, 5);
    this.#text(lengthText(length), left + pixels / 2, top - 5, "center", "bottom");
    return length;
  }

  /** Upright at the right; lying at the top where the view is narrow. */
  #colourBar({ title, low, high }) {
    const { width, height } = this;
    const right = width - MARGIN;
    if (!narrow(width, height)) {
      const long = Math.min(180, 0.4 * height);
      const y = MARGIN + 26;
      this.#ramp((i) => [right - 12, y + long - ((i + 1) * long) / 256, 12, long / 256 + 0.5]);
      this.#text(title, right, MARGIN, "right", "top");
      this.#text(high, right - 18, y, "right", "top");
      this.#text(low, right - 18, y + long, "right", "bottom");
    } else {
      const long = 150;
      const [left, y] = [right - long, MARGIN + 4];
      this.#ramp((i) => [left + (i * long) / 256, y, long / 256 + 0.5, 8]);
      this.#text(title, left - 8, y + 4, "right", "middle");
      this.#text(low, left, y + 12, "left", "top");
      this.#text(high, right, y + 12, "right", "top");
    }
  }

  #ramp(place) {
    for (let i = 0; i < 256; i++) {
      const [red, green, blue] = this.colours.subarray(4 * i);
      this.context.fillStyle = `rgb(${red}, ${green}, ${blue})`;
      this.context.fillRect(...place(i));
    }
  }
}

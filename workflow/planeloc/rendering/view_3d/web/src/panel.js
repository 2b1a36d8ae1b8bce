// The controls beside the picture.
import { lengthText, niceLength } from "./overlay.js";

const AXES = ["x", "y", "z"];
const find = (id) => document.getElementById(id);

/** Two sliders per axis for what is shown; coordinates are those of the table, nm. */
export class Limits {
  constructor(about, changed) {
    this.about = about;
    this.pairs = AXES.map((axis, index) => {
      const step = niceLength((about.high_nm[index] - about.low_nm[index]) / 200);
      const bounds = { min: Math.floor(about.low_nm[index] / step) * step, max: Math.ceil(about.high_nm[index] / step) * step };
      const [from, to] = ["from", "to"].map((end) => Object.assign(find(`${axis}-${end}`), { ...bounds, step }));
      const pair = { from, to, track: find(`${axis}-pair`), shown: find(`${axis}-range`) };
      const moved = (slider) => {
        this.#order(pair, slider);
        this.#show(pair);
        changed();
      };
      from.addEventListener("input", () => moved(from));
      to.addEventListener("input", () => moved(to));
      return pair;
    });
    this.reset();
  }

  reset() {
    for (const pair of this.pairs) {
      pair.from.value = pair.from.min;
      pair.to.value = pair.to.max;
      this.#show(pair);
    }
  }

  /** One end pushes the other, or, where the thickness is kept, takes it along. */
  #order(pair, slider) {
    const other = slider === pair.from ? pair.to : pair.from;
    if (find("keep-thickness").checked) {
      const [low, high] = [Number(slider.min), Number(slider.max)];
      const first = slider === pair.from ? 0 : pair.thickness;
      const from = Math.min(Math.max(Number(slider.value) - first, low), high - pair.thickness);
      pair.from.value = from;
      pair.to.value = from + pair.thickness;
    } else if (Number(pair.from.value) > Number(pair.to.value)) {
      other.value = slider.value;
    }
  }

  #show(pair) {
    pair.thickness = Number(pair.to.value) - Number(pair.from.value);
    const text = `${lengthText(Number(pair.from.value))} to ${lengthText(Number(pair.to.value))}`;
    pair.shown.textContent = text;
    const place = (slider) => `${(100 * (slider.value - slider.min)) / (slider.max - slider.min)}%`;
    pair.track.style.setProperty("--from", place(pair.from));
    pair.track.style.setProperty("--to", place(pair.to));
    pair.from.setAttribute("aria-valuetext", lengthText(Number(pair.from.value)));
    pair.to.setAttribute("aria-valuetext", lengthText(Number(pair.to.value)));
  }

  /** Lowest and highest coordinates; at the end of a slider nothing is cut off. */
  range() {
    const ends = this.pairs.map(({ from, to }) => [Number(from.value), Number(to.value)]);
    const free = this.pairs.map(({ from, to }) => [from.value === from.min, to.value === to.max]);
    return {
      low: ends.map(([low], axis) => (free[axis][0] ? this.about.low_nm[axis] - 1 : low)),
      high: ends.map(([, high], axis) => (free[axis][1] ? this.about.high_nm[axis] + 1 : high)),
    };
  }
}

/** Title and ends of the bar of colours: by depth, time, precision. */
export function colourScales(about) {
  const [early, late] = about.frames;
  return [
    { title: "depth z", range: about.depth_nm, low: lengthText(about.depth_nm[0]), high: lengthText(about.depth_nm[1]) },
    { title: "time", range: [0, 1], low: `frame ${early.toLocaleString("en")}`, high: `frame ${late.toLocaleString("en")}` },
    { title: "lateral precision", range: about.precision_nm, low: lengthText(about.precision_nm[0]), high: lengthText(about.precision_nm[1]) },
  ];
}

/** Tell what went wrong, in the place of the picture. */
export function giveUp(text) {
  const line = find("problem");
  line.textContent = text;
  line.hidden = false;
  find("controls").disabled = true;
  document.body.classList.add("without-picture");
}

export const count = (number) => number.toLocaleString("en");

import { OrthographicCamera } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { readColours, readLocalizations } from "./data.js";
import { narrow, Overlay } from "./overlay.js";
import { colourScales, count, giveUp, Limits } from "./panel.js";
import { Spots } from "./spots.js";

const find = (id) => document.getElementById(id);
const AWAY = 1e6; // nm from the camera to the middle; the projection is parallel, so that it only has to be outside
const STEP = Math.PI / 36; // of a key
const TURN_SECONDS = 24;
const SWING = Math.PI / 7;
const SLOW_MS = 40; // longer frames draw fewer localizations while the view moves,
const FAST_MS = 22; // shorter ones more
const REST_MS = 150; // after a change, until all is drawn
const LEAST = 0.05; // share of the localizations that is drawn at least
// From the objective, x to the right and y down, as in depth.png; from the side with z up; with z to the right.
const SIDES = { xy: [0, 0, -1], xz: [0, -1, -1e-5], yz: [1, 0, 0] };

class View {
  constructor(canvas, context, data) {
    const { about } = data;
    this.data = data;
    this.about = about;
    const colours = readColours(about);
    this.spots = new Spots(canvas, context, data, colours);
    this.overlay = new Overlay(find("overlay"), colours);
    this.scales = colourScales(about);
    this.sample = about.shown < about.total ? `${count(about.shown)} of ${count(about.total)} localizations` : "";
    this.size = [0, 1, 2].map((axis) => Math.max(about.high_nm[axis] - about.low_nm[axis], 1));
    this.camera = new OrthographicCamera(-1, 1, 1, -1, -1e9, 1e9);
    this.camera.up.set(0, -1, 0);
    this.camera.position.set(0, 0, -AWAY);
    this.controls = new OrbitControls(this.camera, canvas);
    Object.assign(this.controls, { zoomToCursor: true, screenSpacePanning: true });
    this.controls.addEventListener("change", () => this.touch());
    this.limits = new Limits(about, () => this.limitsChanged());
    this.share = 1; // of the localizations that is drawn while the view moves
    this.drawnShare = 0;
    this.phase = 0;
    this.frames = 0;
    this.last = 0;
    this.touched = -REST_MS;
    this.#bind(canvas);
    new ResizeObserver(() => this.resize()).observe(find("view"));
    this.resize();
    this.limitsChanged();
    this.look("xy");
  }

  #bind(canvas) {
    const uniforms = this.spots.uniforms;
    const on = (id, event, action) => find(id).addEventListener(event, () => (action(find(id)), this.ask()));
    on("colour-by", "change", (choice) => this.colourBy(choice.selectedIndex));
    on("spot-size", "input", (slider) => (uniforms.spotSize.value = 2 ** slider.value));
    find("brightness").addEventListener("input", () => {
      this.spots.brightness = 2 ** find("brightness").value;
      this.ask(true);
    });
    for (const id of ["adapt", "box", "motion"]) on(id, "change", () => {});
    for (const side of Object.keys(SIDES)) on(`look-${side}`, "click", () => this.look(side));
    on("reset", "click", () => this.reset());
    on("save", "click", () => this.save());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("webglcontextlost", () => giveUp("The graphics device was reset. Load this page again."));
    this.colourBy(0);
  }

  colourBy(index) {
    this.spots.uniforms.colourBy.value = index;
    this.spots.uniforms.colourRange.value.set(...(index === 2 ? this.about.precision_nm : this.about.depth_nm));
  }

  resize() {
    const { clientWidth, clientHeight } = find("view");
    const [width, height] = [Math.max(clientWidth, 1), Math.max(clientHeight, 1)];
    const ratio = Math.min(window.devicePixelRatio, 2);
    const first = !this.width;
    Object.assign(this, { width, height, ratio });
    Object.assign(this.camera, { left: -width / 2, right: width / 2, top: height / 2, bottom: -height / 2 });
    this.camera.updateProjectionMatrix();
    this.spots.resize(width, height, ratio);
    this.overlay.resize(width, height, ratio);
    const fit = this.fit("xy");
    Object.assign(this.controls, { minZoom: fit / 8, maxZoom: Math.max(20, 8 * fit) });
    if (!first) this.ask();
  }

  /** Zoom, CSS pixels per nm, at which the field fills the view; a colour bar and a scale bar have room beside it. */
  fit(side) {
    const [across, down] = [{ xy: 0, xz: 0, yz: 2 }[side], { xy: 1, xz: 2, yz: 1 }[side]];
    const [share, rim] = narrow(this.width, this.height) ? [0.94, 130] : [0.84, 100];
    return Math.min((share * this.width) / this.size[across], (this.height - rim) / this.size[down]);
  }

  look(side) {
    this.controls.target.set(0, 0, 0);
    this.camera.position.set(...SIDES[side]).setLength(AWAY);
    this.camera.zoom = this.fit(side);
    this.camera.updateProjectionMatrix();
    this.phase = 0;
    this.controls.update();
    this.ask();
  }

  reset() {
    for (const [id, value] of Object.entries({ "spot-size": 0, brightness: 0 })) find(id).value = value;
    this.spots.uniforms.spotSize.value = this.spots.brightness = 1;
    find("motion").value = "still";
    find("keep-thickness").checked = false;
    this.limits.reset();
    this.limitsChanged();
    this.look("xy");
  }

  limitsChanged() {
    const { low, high } = this.limits.range();
    const middle = this.data.middle;
    this.low = low.map((value, axis) => value - middle[axis]);
    this.high = high.map((value, axis) => value - middle[axis]);
    this.spots.uniforms.low.value.set(...this.low);
    this.spots.uniforms.high.value.set(...this.high);
    clearTimeout(this.counting);
    this.counting = setTimeout(() => this.countShown(), 60);
    this.touch();
  }

  countShown() {
    const { position, count: all } = this.data;
    const [[x0, y0, z0], [x1, y1, z1]] = [this.low, this.high];
    let shown = 0;
    for (let i = 0; i < 3 * all; i += 3) {
      const [x, y, z] = [position[i], position[i + 1], position[i + 2]];
      if (x >= x0 && x <= x1 && y >= y0 && y <= y1 && z >= z0 && z <= z1) shown++;
    }
    this.shown = shown;
    find("shown").textContent = shown === all ? "" : `${count(shown)} of ${count(all)} within the limits`;
  }

  key(event) {
    const { controls } = this;
    const turn = {
      ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
    }[event.key];
    if (turn && event.shiftKey) controls.pan(40 * turn[0], 40 * turn[1]);
    else if (turn) turn[0] ? controls.rotateLeft(-STEP * turn[0]) : controls.rotateUp(-STEP * turn[1]);
    else if (event.key === "+" || event.key === "=") controls.dollyIn(1 / 1.15);
    else if (event.key === "-") controls.dollyOut(1 / 1.15);
    else if (event.key === "r" || event.key === "R") this.reset();
    else return;
    event.preventDefault();
    this.touch();
  }

  /** Draw soon; only the brightness has changed if `drawn`. */
  ask(drawn = false) {
    this.stale ||= !drawn;
    if (!this.waiting) this.waiting = requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.waiting = 0;
    if (this.spots.busy()) return this.ask(true); // drawings must not queue up
    const passed = now - this.last;
    this.last = now;
    const moving = this.move(Math.min(passed, 100) / 1000);
    if (moving && this.moved) this.adaptShare(passed);
    this.moved = moving;
    if (moving || this.stale || this.drawnShare < 1) this.draw(moving ? this.share : 1);
    else this.spots.show();
    if (moving) this.ask();
    this.adaptBrightness(now, moving);
  }

  /** Draw, and count as moving for a moment: the next change comes soon. */
  touch() {
    this.touched = performance.now();
    this.ask();
  }

  /** Rotation by itself; returns whether the view is moving, by itself or by hand. */
  move(seconds) {
    const motion = find("motion").value;
    if (motion === "turn") this.controls.rotateLeft((2 * Math.PI * seconds) / TURN_SECONDS);
    if (motion === "rock") {
      const before = Math.sin(this.phase);
      this.phase += (2 * Math.PI * seconds) / (TURN_SECONDS / 3);
      this.controls.rotateLeft(SWING * (Math.sin(this.phase) - before));
    }
    return motion !== "still" || performance.now() - this.touched < REST_MS;
  }

  adaptShare(milliseconds) {
    if (milliseconds > SLOW_MS) this.share = Math.max(LEAST, this.share * Math.max(SLOW_MS / milliseconds, 0.5));
    else if (milliseconds < FAST_MS) this.share = Math.min(1, this.share * 1.1);
  }

  draw(share) {
    this.stale = false;
    this.camera.updateMatrixWorld();
    this.spots.draw(this.camera, this.camera.zoom * this.ratio, share);
    const reach = (values, bounds) => values.map((value, axis) => Math.max(-bounds[axis], Math.min(bounds[axis], value)));
    const half = this.size.map((size) => size / 2);
    this.barLength = this.overlay.draw({
      camera: this.camera, showBox: find("box").checked,
      low: reach(this.low, half), high: reach(this.high, half),
      colour: this.scales[find("colour-by").selectedIndex],
      note: share < 1 ? `${Math.round(100 * share)} % drawn while moving` : this.sample,
    });
    this.drawnShare = share;
    this.frames++;
  }

  /** White follows what is seen, smoothly, as often as the device answers. */
  adaptBrightness(now, moving) {
    if (this.measuring || (this.spots.white && (!find("adapt").checked || (moving && now - this.measured < 150)))) return;
    this.measured = now;
    this.measuring = this.spots.measureWhite().then((white) => {
      this.measuring = null;
      if (!white) return;
      const before = this.spots.white || white;
      if (this.spots.white && Math.abs(Math.log(white / before)) < 0.06) return;
      this.spots.white = moving ? before * (white / before) ** 0.4 : white;
      this.ask(this.spots.sumsFit());
    });
  }

  /** Wait until all is drawn and the brightness no longer changes. */
  async settled() {
    while (this.waiting || this.measuring) await new Promise((done) => requestAnimationFrame(done));
  }

  async save() {
    const { canvas } = this.overlay;
    const picture = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    const context = picture.getContext("2d");
    this.draw(1);
    context.drawImage(find("picture"), 0, 0, canvas.width, canvas.height);
    context.drawImage(canvas, 0, 0);
    const blob = await new Promise((done) => picture.toBlob(done, "image/png"));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${this.about.title.replace(/[^\p{L}\p{N}._-]+/gu, "_") || "view"}_3d.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

async function start() {
  const canvas = find("picture");
  const context = canvas.getContext("webgl2", { antialias: false, alpha: false, depth: false, powerPreference: "high-performance" });
  if (!context) return giveUp("This browser shows no 3D graphics (WebGL 2 is missing or switched off). Another browser, or its hardware acceleration, will.");
  if (!context.getExtension("EXT_color_buffer_float") && !context.getExtension("EXT_color_buffer_half_float"))
    return giveUp("The graphics of this device cannot add up localizations (no floating-point buffers in WebGL 2). Use another device.");
  if (!window.DecompressionStream) return giveUp("This browser is too old to read the localizations. Use one from 2023 or later.");
  const data = await readLocalizations();
  if (!data.count) return giveUp("The table holds no localizations.");
  window.planelocView = new View(canvas, context, data);
}

start().catch((error) => giveUp(`The view could not be made: ${error.message}`));

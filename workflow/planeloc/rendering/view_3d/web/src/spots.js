// The drawing: one call for all localizations into a buffer of half floats, one for the picture.
import {
  BufferAttribute, BufferGeometry, CustomBlending, AddEquation, DataTexture, GLSL3, HalfFloatType, Mesh, NearestFilter,
  NoBlending, OneFactor, OrthographicCamera, Points, RGBAFormat, ShaderMaterial, UnsignedByteType, Vector2, Vector3,
  WebGLRenderer, WebGLRenderTarget,
} from "three";
import { fullVertex, pictureFragment, sampleFragment, spotFragment, spotVertex } from "./shaders.js";

const SAMPLES = 256; // along each side of the view, for the automatic brightness
const BINS = 1024;
const LEAST_SHARE = 0.02; // pixels below this share of the brightest are halo, as in `planeloc render`
const SUMMED = 16; // weight at full brightness: far from both ends of a half float

export class Spots {
  constructor(canvas, context, data, colours) {
    const { about } = data;
    this.count = data.count;
    this.renderer = new WebGLRenderer({ canvas, context, antialias: false, alpha: false, depth: false });
    this.renderer.autoClear = false;
    this.renderer.info.autoReset = false;
    this.renderer.setClearColor(0x000000, 0);
    this.saturation = about.saturation_percent / 100;
    this.brightness = 1;
    this.white = 0; // weight per nm² of full brightness; 0: not known yet

    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(data.position, 3));
    geometry.setAttribute("sd", new BufferAttribute(data.sd, 4));
    geometry.setAttribute("time", new BufferAttribute(data.time, 1));
    const map = new DataTexture(colours, 256, 1, RGBAFormat, UnsignedByteType);
    map.needsUpdate = true;
    const [smallest, largest] = this.renderer.getContext().getParameter(0x846d); // ALIASED_POINT_SIZE_RANGE
    this.uniforms = {
      colours: { value: map }, colourBy: { value: 0 }, colourRange: { value: new Vector2(0, 1) },
      sdCode: { value: new Vector2(Math.log2(about.sd_smallest_nm), Math.log2(about.sd_ratio)) },
      low: { value: new Vector3() }, high: { value: new Vector3() }, middleZ: { value: data.middle[2] },
      pixelsPerNm: { value: 1 }, spotSize: { value: 1 }, gain: { value: 1 },
      largestPoint: { value: Math.max(smallest, largest) },
    };
    this.points = new Points(geometry, new ShaderMaterial({
      glslVersion: GLSL3, uniforms: this.uniforms, vertexShader: spotVertex, fragmentShader: spotFragment,
      blending: CustomBlending, blendEquation: AddEquation, blendSrc: OneFactor, blendDst: OneFactor,
      depthTest: false, depthWrite: false, transparent: true,
    }));
    this.points.frustumCulled = false;

    const plain = { minFilter: NearestFilter, magFilter: NearestFilter, depthBuffer: false };
    this.sums = new WebGLRenderTarget(1, 1, { ...plain, type: HalfFloatType });
    this.sampled = new WebGLRenderTarget(SAMPLES, SAMPLES, plain);
    const triangle = new BufferGeometry();
    triangle.setAttribute("position", new BufferAttribute(new Float32Array([-1, -1, 0, 3, -1, 0, -1, 3, 0]), 3));
    const full = (fragmentShader, uniforms) => {
      const sums = { value: this.sums.texture };
      const mesh = new Mesh(triangle, new ShaderMaterial({
        glslVersion: GLSL3, vertexShader: fullVertex, fragmentShader, uniforms: { ...uniforms, sums },
        depthTest: false, depthWrite: false, blending: NoBlending,
      }));
      mesh.frustumCulled = false;
      return mesh;
    };
    this.picture = full(pictureFragment, { white: { value: 1 }, gamma: { value: about.gamma } });
    this.sample = full(sampleFragment, {});
    this.flat = new OrthographicCamera();
    this.codes = new Uint8Array(4 * SAMPLES * SAMPLES);
  }

  /** Size of the view in CSS pixels, and device pixels per CSS pixel. */
  resize(width, height, ratio) {
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(width, height, false);
    const size = this.renderer.getDrawingBufferSize(new Vector2());
    this.sums.setSize(size.x, size.y);
  }

  /** Draw a share of the localizations; those are an unbiased sample, because their order is random. */
  draw(camera, pixelsPerNm, share = 1) {
    const { renderer, uniforms } = this;
    renderer.info.reset();
    const drawn = Math.max(1, Math.round(this.count * share));
    this.points.geometry.setDrawRange(0, drawn);
    uniforms.pixelsPerNm.value = pixelsPerNm;
    this.gain = SUMMED / (this.white || pixelsPerNm * pixelsPerNm);
    uniforms.gain.value = (this.gain * this.count) / drawn;
    renderer.setRenderTarget(this.sums);
    renderer.clear();
    renderer.render(this.points, camera);
    renderer.setRenderTarget(null);
    this.show();
    const context = renderer.getContext();
    context.deleteSync(this.fence ?? null);
    this.fence = context.fenceSync(context.SYNC_GPU_COMMANDS_COMPLETE, 0);
    context.flush();
  }

  /** Turn the sums of the last drawing into the picture, with the present brightness. */
  show() {
    const white = this.white ? this.white * this.gain : SUMMED;
    this.picture.material.uniforms.white.value = white / this.brightness;
    this.renderer.render(this.picture, this.flat);
  }

  /** Whether the sums were made for about the present brightness, so that half floats hold them well. */
  sumsFit() {
    const share = (this.white * this.gain) / SUMMED;
    return share > 1 / 16 && share < 16;
  }

  /** Whether the device still works on the last drawing. */
  busy() {
    const context = this.renderer.getContext();
    return Boolean(this.fence) && context.clientWaitSync(this.fence, 0, 0) === context.TIMEOUT_EXPIRED;
  }

  /** Weight per nm² above which the brightest pixels of the last drawing are saturated; 0 if nothing was drawn. */
  async measureWhite() {
    const { renderer, gain, sampled, codes } = this;
    renderer.setRenderTarget(sampled);
    renderer.render(this.sample, this.flat);
    renderer.setRenderTarget(null);
    await renderer.readRenderTargetPixelsAsync(sampled, 0, 0, SAMPLES, SAMPLES, codes);
    return whiteOf(codes, this.saturation) / gain;
  }
}

/** The weight below which all but a share of the non-empty pixels lie. */
function whiteOf(codes, saturation) {
  const bins = new Uint32Array(BINS);
  for (let i = 0; i < codes.length; i += 4) bins[(codes[i] * 256 + codes[i + 1]) >> 6]++;
  let brightest = BINS - 1;
  while (brightest > 0 && !bins[brightest]) brightest--;
  if (brightest === 0) return 0;
  const lowest = Math.max(1, Math.ceil(brightest + (Math.log2(LEAST_SHARE) * BINS) / 40));
  let structure = 0;
  for (let bin = lowest; bin <= brightest; bin++) structure += bins[bin];
  let above = 0;
  let bin = brightest;
  while (bin > lowest && above + bins[bin] <= saturation * structure) above += bins[bin--];
  return 2 ** (((bin + 0.5) / BINS) * 40 - 24);
}

// What the page carries: a description (JSON), and the localizations as gzipped planes of bytes in base64.

/** Numbers of more than one byte lie in planes, lowest byte first; see points.py. */
export async function readLocalizations() {
  const about = JSON.parse(document.getElementById("about").textContent);
  const bytes = await unpack(document.getElementById("localizations").textContent);
  const count = about.shown;
  let offset = 0;
  const plane = () => bytes.subarray(offset, (offset += count));
  const number = (planes) => {
    const parts = Array.from({ length: planes }, plane);
    return (i) => parts.reduceRight((sum, part) => sum * 256 + part[i], 0);
  };

  const middle = [0, 1, 2].map((axis) => (about.low_nm[axis] + about.high_nm[axis]) / 2);
  const position = new Float32Array(3 * count);
  for (let axis = 0; axis < 3; axis++) {
    const steps = number(3);
    const shift = about.origin_nm[axis] - middle[axis];
    for (let i = 0; i < count; i++) position[3 * i + axis] = steps(i) * about.step_nm + shift;
  }
  const sd = new Uint8Array(4 * count);
  for (let axis = 0; axis < 3; axis++) {
    const values = plane();
    for (let i = 0; i < count; i++) sd[4 * i + axis] = values[i];
  }
  const ticks = number(2);
  const time = new Float32Array(count);
  for (let i = 0; i < count; i++) time[i] = ticks(i) / 65535;
  return { about, count, middle, position, sd, time };
}

async function unpack(base64) {
  const packed = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The colour map: 256 colours, red, green, blue and 255. */
export function readColours(about) {
  return Uint8Array.from(atob(about.colours), (letter) => letter.charCodeAt(0));
}

// A scene as the browser has it: what payload.py packs, unpacked once.
//
// Voxel (x, y, z) is at (z * ny + y) * nx + x of every volume; x runs to the patient's right, y to
// anterior, z to superior.

const BRAIN = 1;
const LESION = 2;
const N_CODES = 65536;
const NOT_FINITE = 0;

/** The scene in a Uint8Array of payload.py's layout. */
function unpackScene(bytes) {
  const data = bytes.slice(); // of its own, so that numbers lie at multiples of their size
  const length = new DataView(data.buffer).getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  const part = (name) => {
    const [at, size] = told.arrays[name];
    return data.subarray(4 + length + at, 4 + length + at + size);
  };
  const [nx, ny, nz] = told.shape;
  const marks = new Uint8Array(nx * ny * nz);
  mark(marks, part("brain"), BRAIN);
  mark(marks, part("lesion"), LESION);
  const volume = (name, scale) => ({
    codes: spread(part(name), marks),
    numbers: numbersOf(scale),
    scale,
  });
  return {
    ...told,
    marks,
    strides: [1, nx, nx * ny],
    spacing: [told.grid.pixel_mm, told.grid.pixel_mm, told.grid.slice_mm],
    missing: new Set(told.missing),
    lesionPlanes: planesWith(marks, LESION, nx * ny),
    image: volume("image", told.image),
    sides: told.sides.map((side) => ({
      ...side,
      scores: side.scores.map((score) => ({ ...score, ...volume(score.array, score.scale) })),
    })),
  };
}

function mark(marks, bits, value) {
  for (let i = 0; i < marks.length; i++) {
    if (bits[i >> 3] & (128 >> (i & 7))) marks[i] |= value;
  }
}

/** Codes of the brain's voxels, spread over the volume; all others have 0. */
function spread(bytes, marks) {
  const packed = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  const codes = new Uint16Array(marks.length);
  let next = 0;
  for (let i = 0; i < marks.length; i++) {
    if (marks[i] & BRAIN) codes[i] = packed[next++];
  }
  return codes;
}

/** The number that each code stands for: straight lines between the scale's knots. */
function numbersOf({ values, codes }) {
  const numbers = new Float32Array(N_CODES).fill(NaN);
  for (let k = 1; k < codes.length; k++) {
    const [from, to] = [codes[k - 1], codes[k]];
    const step = (values[k] - values[k - 1]) / (to - from);
    for (let code = from; code <= to; code++) numbers[code] = values[k - 1] + step * (code - from);
  }
  return numbers;
}

/** The lowest code of the numbers that are not below a threshold; beyond all codes if none is. */
function codeOf({ values, codes }, threshold) {
  if (threshold <= values[0]) return codes[0];
  for (let k = 1; k < values.length; k++) {
    if (threshold <= values[k]) {
      const share = (threshold - values[k - 1]) / (values[k] - values[k - 1]);
      return Math.round(codes[k - 1] + share * (codes[k] - codes[k - 1]));
    }
  }
  return N_CODES;
}

function planesWith(marks, value, size) {
  const found = [];
  for (let start = 0; start < marks.length; start += size) {
    if (marks.subarray(start, start + size).some((m) => m & value)) found.push(start / size);
  }
  return found;
}

function indexOf(scene, [x, y, z]) {
  return x * scene.strides[0] + y * scene.strides[1] + z * scene.strides[2];
}

/** The nearest voxel of the scan to a voxel's centre, and where that centre is in mm. */
function placeOf(scene, at) {
  const { origin, scale, affine } = scene.grid;
  const exact = at.map((v, axis) => origin[axis] + scale[axis] * v);
  const mm = [0, 4, 8].map(
    (row) =>
      affine[row] * exact[0] + affine[row + 1] * exact[1] + affine[row + 2] * exact[2] +
      affine[row + 3],
  );
  return { voxel: exact.map(Math.round), mm };
}

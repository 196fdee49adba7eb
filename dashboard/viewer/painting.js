// Painting one plane of one side on a canvas.

const SHADES = 256;

/** 256 colours between a few that lie at equal distances, as bytes: red, green, blue. */
function shadesOf(colours) {
  const anchors = colours.map((text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));
  const shades = new Uint8Array(SHADES * 3);
  for (let i = 0; i < SHADES; i++) {
    const place = (i / (SHADES - 1)) * (anchors.length - 1);
    const below = Math.min(Math.floor(place), anchors.length - 2);
    for (let c = 0; c < 3; c++) {
      const [a, b] = [anchors[below][c], anchors[below + 1][c]];
      shades[3 * i + c] = Math.round(a + (b - a) * (place - below));
    }
  }
  return shades;
}

/** The shade of each code, 0 to 255, for a range of numbers. */
function shadeOfCodes(numbers, low, high) {
  const found = new Uint8ClampedArray(N_CODES);
  const factor = (SHADES - 1) / Math.max(high - low, 1e-12);
  for (let code = 1; code < N_CODES; code++) found[code] = (numbers[code] - low) * factor;
  return found;
}

/** Where a plane's axes run on the screen, for a convention. */
function directionOf(scene, plane, radiological) {
  const flipped = plane.is_across_flipped !== (radiological && plane.across === 0);
  const ends = scene.letters;
  const [left, right] = flipped ? [1, 0] : [0, 1];
  return {
    flipped,
    across: scene.shape[plane.across],
    down: scene.shape[plane.down],
    letters: {
      left: ends[plane.across][left],
      right: ends[plane.across][right],
      top: ends[plane.down][1],
      bottom: ends[plane.down][0],
    },
  };
}

/** What is painted with: shades of the codes, made anew only when their settings change. */
class Palette {
  constructor(scene) {
    this.scene = scene;
    this.made = new Map();
  }

  grey(low, high) {
    return this.kept("image", `${low} ${high}`, () =>
      shadeOfCodes(this.scene.image.numbers, low, high),
    );
  }

  layer(score, { threshold, opacity, map }) {
    const shade = this.kept(score.array, "", () =>
      shadeOfCodes(score.numbers, score.low, score.high),
    );
    const name = map in this.scene.colour_maps ? map : Object.keys(this.scene.colour_maps)[0];
    const colours = this.kept(name, "", () => shadesOf(this.scene.colour_maps[name]));
    const least = threshold === null ? NOT_FINITE + 1 : codeOf(score.scale, threshold);
    return { codes: score.codes, shade, colours, least, share: opacity / 100 };
  }

  kept(name, settings, make) {
    const before = this.made.get(name);
    if (before && before.settings === settings) return before.value;
    const value = make();
    this.made.set(name, { settings, value });
    return value;
  }
}

class PlanePainter {
  constructor(canvas, plane) {
    this.canvas = canvas;
    this.plane = plane;
    this.small = document.createElement("canvas");
  }

  /** Paint image, scores, outline and crosshair; layers are from Palette.layer. */
  paint(scene, at, grey, layers, { outline, radiological }) {
    const direction = directionOf(scene, this.plane, radiological);
    this.fill(scene, at, direction, grey, layers);
    const context = this.canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(this.small, 0, 0, this.canvas.width, this.canvas.height);
    if (outline) this.outline(context, scene, at, direction);
    this.crosshair(context, at, direction);
  }

  /** Calls visit(k, p) for every pixel k, row by row, with the place p of its voxel. */
  walk(scene, at, { flipped, across, down }, visit) {
    const { plane } = this;
    const [stepA, stepD] = [scene.strides[plane.across], scene.strides[plane.down]];
    const through = at[plane.through] * scene.strides[plane.through];
    const step = flipped ? -stepA : stepA;
    let k = 0;
    for (let j = 0; j < down; j++) {
      let p = through + (down - 1 - j) * stepD + (flipped ? (across - 1) * stepA : 0);
      for (let i = 0; i < across; i++, p += step) visit(k++, p);
    }
  }

  fill(scene, at, direction, grey, layers) {
    const { across, down } = direction;
    if (this.small.width !== across || this.small.height !== down || !this.pixels) {
      [this.small.width, this.small.height] = [across, down];
      this.pixels = this.small.getContext("2d").createImageData(across, down);
    }
    const out = this.pixels.data;
    const image = scene.image.codes;
    this.walk(scene, at, direction, (k, p) => {
      const light = grey[image[p]];
      let [r, g, b] = [light, light, light];
      for (const { codes, shade, colours, least, share } of layers) {
        const code = codes[p];
        if (code === NOT_FINITE || code < least) continue;
        const c = 3 * shade[code];
        r += (colours[c] - r) * share;
        g += (colours[c + 1] - g) * share;
        b += (colours[c + 2] - b) * share;
      }
      out[4 * k] = r;
      out[4 * k + 1] = g;
      out[4 * k + 2] = b;
      out[4 * k + 3] = 255;
    });
    this.small.getContext("2d").putImageData(this.pixels, 0, 0);
  }

  /** The lesion's border, along the voxels' edges. */
  outline(context, scene, at, direction) {
    const { across, down } = direction;
    const inside = new Uint8Array(across * down);
    this.walk(scene, at, direction, (k, p) => {
      inside[k] = scene.marks[p] & LESION;
    });
    const [sx, sy] = [this.canvas.width / across, this.canvas.height / down];
    context.beginPath();
    for (let j = 0; j < down; j++) {
      for (let i = 0; i < across; i++) {
        const k = j * across + i;
        if (!inside[k]) continue;
        if (i === 0 || !inside[k - 1]) line(context, i * sx, j * sy, i * sx, (j + 1) * sy);
        if (i === across - 1 || !inside[k + 1])
          line(context, (i + 1) * sx, j * sy, (i + 1) * sx, (j + 1) * sy);
        if (j === 0 || !inside[k - across]) line(context, i * sx, j * sy, (i + 1) * sx, j * sy);
        if (j === down - 1 || !inside[k + across])
          line(context, i * sx, (j + 1) * sy, (i + 1) * sx, (j + 1) * sy);
      }
    }
    context.lineWidth = 1.5 * window.devicePixelRatio;
    context.strokeStyle = scene.lesion_colour;
    context.stroke();
  }

  /** Two lines that leave the voxel itself and its neighbours free. */
  crosshair(context, at, { flipped, across, down }) {
    const { width, height } = this.canvas;
    const [a, d] = [at[this.plane.across], at[this.plane.down]];
    const x = ((flipped ? across - 1 - a : a) + 0.5) * (width / across);
    const y = (down - 1 - d + 0.5) * (height / down);
    const gap = 2.5 * (width / across);
    context.beginPath();
    line(context, 0, y, x - gap, y);
    line(context, x + gap, y, width, y);
    line(context, x, 0, x, y - gap);
    line(context, x, y + gap, x, height);
    for (const [colour, px] of [["rgba(0, 0, 0, .45)", 3], ["rgba(255, 255, 255, .85)", 1]]) {
      context.strokeStyle = colour;
      context.lineWidth = px * window.devicePixelRatio;
      context.stroke();
    }
  }
}

function line(context, x0, y0, x1, y1) {
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
}

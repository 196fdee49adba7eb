// The elements of a side: its planes, and what can be set for each of its scores.
//
// Names come from a store, so text is set as text, never as HTML.

const N_STEPS = 400;
const PLANE_NAMES = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal" };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A number with three digits that tell it from its neighbours. */
function digits(value) {
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  return String(Number(value.toPrecision(Math.abs(value) < 1000 ? 3 : 4)));
}

/** Show a value in an element unless its user is just changing it. */
function show(input, value) {
  if (input.type === "number" && input.getRootNode().activeElement === input) return;
  if (input.value !== String(value)) input.value = value;
}

function span(input, low, high) {
  [input.min, input.max, input.step] = [low, high, (high - low) / N_STEPS || 1];
}

class PlaneView {
  /** One plane on the page; ask for {moveTo, stepBy} where its user leads. */
  constructor(scene, plane, sideName, lead) {
    this.plane = plane;
    this.canvas = element("canvas", {
      role: "slider",
      tabindex: "0",
      "aria-label": `${PLANE_NAMES[plane.name]} plane, ${sideName}`,
      "data-plane": plane.name,
    });
    const [w, h] = [plane.across, plane.down].map((a) => scene.shape[a] * scene.spacing[a]);
    this.canvas.style.aspectRatio = `${w} / ${h}`;
    this.letters = ["left", "right", "top", "bottom"].map((edge) =>
      element("span", { class: "letter", "data-edge": edge, "aria-hidden": "true" }),
    );
    this.element = element("div", { class: "plane" }, this.canvas, ...this.letters);
    this.painter = new PlanePainter(this.canvas, plane);
    this.listen(lead);
  }

  listen({ moveTo, stepBy }) {
    const { canvas, plane } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      moveTo(plane, ...this.shareOf(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) moveTo(plane, ...this.shareOf(event));
    });
    canvas.addEventListener("keydown", (event) => {
      const steps = stepsOf(event);
      if (steps === 0) return;
      event.preventDefault();
      event.stopPropagation();
      stepBy(plane.through, steps);
    });
    let turned = 0;
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || event.deltaY === 0) return; // the browser's own zoom
        event.preventDefault();
        const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : NOTCH_PX / 3;
        turned += -event.deltaY * lines;
        const steps = Math.trunc(turned / NOTCH_PX);
        turned -= steps * NOTCH_PX;
        if (steps !== 0) stepBy(plane.through, steps);
      },
      { passive: false },
    );
  }

  shareOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  /** As many of the canvas's pixels as it has on the screen. */
  fit() {
    const ratio = window.devicePixelRatio;
    const size = [this.canvas.clientWidth, this.canvas.clientHeight];
    const [width, height] = size.map((v) => Math.max(1, Math.round(v * ratio)));
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
  }

  draw(scene, settings, grey, layers, told) {
    const { at, radiological } = settings;
    this.painter.paint(scene, at, grey, layers, settings);
    const { letters } = directionOf(scene, this.plane, radiological);
    for (const letter of this.letters) letter.textContent = letters[letter.dataset.edge];
    const { canvas, plane } = this;
    const first = plane.through === 2 ? scene.grid.first : 0;
    canvas.setAttribute("aria-valuemin", first);
    canvas.setAttribute("aria-valuemax", first + scene.shape[plane.through] - 1);
    canvas.setAttribute("aria-valuenow", first + at[plane.through]);
    canvas.setAttribute("aria-valuetext", `${first + at[plane.through]}: ${told}`);
  }
}

const NOTCH_PX = 100; // what a notch of a mouse wheel scrolls by

const STEPS = {
  ArrowUp: 1,
  ArrowRight: 1,
  PageUp: 1,
  ArrowDown: -1,
  ArrowLeft: -1,
  PageDown: -1,
  Home: -Infinity,
  End: Infinity,
};

function stepsOf(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return 0;
  return (STEPS[event.key] ?? 0) * (event.shiftKey ? 10 : 1);
}

class ScoreView {
  /** What can be set for a score; change(key, part) is called with what its user sets. */
  constructor(scene, score, change) {
    this.score = score;
    const [low, high] = score.ends;
    const input = (type, name) => element("input", { type, "aria-label": `${name}, ${score.name}` });
    this.threshold = input("range", "Threshold");
    this.exact = input("number", "Exact threshold");
    this.exact.step = "any";
    this.exact.placeholder = "all";
    this.opacity = input("range", "Opacity");
    this.map = element("select", { "aria-label": `Colours, ${score.name}` });
    for (const name of Object.keys(scene.colour_maps))
      this.map.append(element("option", { value: name }, name));
    span(this.threshold, low, high);
    [this.opacity.min, this.opacity.max, this.opacity.step] = [0, 100, 1];
    this.value = element("span", { class: "value" });
    this.colours = element("span", { class: "colours" });
    const nothing = 0.005 * (score.high - score.low); // beside the length of the bar
    const end = (value) => element("span", {}, Math.abs(value) < nothing ? "0" : digits(value));
    const bar = [end(score.low), this.colours, end(score.high)];
    this.element = element(
      "fieldset",
      { class: "score" },
      element("legend", {}, score.name),
      element("span", { class: "wide" }, "At the crosshair: ", this.value),
      element("span", { class: "wide scale" }, ...bar),
      element("span", {}, "Threshold"),
      this.threshold,
      this.exact,
      element("span", {}, "Opacity"),
      this.opacity,
      this.map,
    );
    this.listen((part) => change(score.key, part));
  }

  listen(change) {
    this.threshold.addEventListener("input", () => {
      const { value, min } = this.threshold;
      change({ threshold: Number(value) <= Number(min) ? null : short(value) });
    });
    this.exact.addEventListener("input", () => {
      if (this.exact.validity.badInput) return;
      change({ threshold: this.exact.value === "" ? null : Number(this.exact.value) });
    });
    this.opacity.addEventListener("input", () => change({ opacity: Number(this.opacity.value) }));
    this.map.addEventListener("change", () => change({ map: this.map.value }));
  }

  draw(scene, { threshold, opacity, map }, told) {
    show(this.threshold, threshold ?? this.threshold.min);
    this.threshold.setAttribute("aria-valuetext", threshold === null ? "all" : digits(threshold));
    show(this.exact, threshold === null ? "" : short(threshold));
    show(this.opacity, opacity);
    show(this.map, map);
    this.value.textContent = told;
    this.colours.style.background = `linear-gradient(to right, ${scene.colour_maps[map].join()})`;
  }
}

class SideView {
  constructor(scene, side, lead, change) {
    this.side = side;
    this.planes = scene.planes.map((plane) => new PlaneView(scene, plane, side.name, lead));
    this.scores = side.scores.map((score) => new ScoreView(scene, score, change));
    const panel = element("div", { class: "panel" }, ...this.scores.map((s) => s.element));
    const planes = this.planes.map((p) => p.element);
    this.element = element(
      "section",
      { class: "side", "aria-label": side.name },
      element("h2", {}, side.name),
      element("div", { class: "planes" }, ...planes, panel),
    );
  }

  draw(scene, settings, palette) {
    const grey = palette.grey(settings.low, settings.high);
    const set = this.side.scores.map((score) => settings.scores.get(score.key));
    const layers = this.side.scores.map((score, i) => palette.layer(score, set[i]));
    const told = this.side.scores.map((score) => numberAt(scene, score, settings.at));
    const words = this.side.scores.map((score, i) => `${score.name} ${told[i]}`);
    const all = [`image ${numberAt(scene, scene.image, settings.at)}`, ...words].join(", ");
    for (const plane of this.planes) plane.draw(scene, settings, grey, layers, all);
    this.scores.forEach((view, i) => view.draw(scene, set[i], told[i]));
  }
}

/** A volume's number at a voxel, as people read it. */
function numberAt(scene, { codes, numbers }, at) {
  const i = indexOf(scene, at);
  if (scene.missing.has(at[2])) return "no slice here";
  if (!(scene.marks[i] & BRAIN)) return "outside the brain";
  return codes[i] === NOT_FINITE ? "not finite" : digits(numbers[codes[i]]);
}

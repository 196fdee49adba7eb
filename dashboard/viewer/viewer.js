// The viewer: one crosshair and one look for all planes of both sides.
//
// A step changes the settings at once and draws at the next frame, so that steps that come faster
// than frames are all taken. Nothing is told to the server.

const WRITE_AFTER_MS = 200;

class Viewer {
  constructor(root) {
    this.root = root;
    this.sides = [];
    this.isWaiting = false;
    this.mounted = 0;
    this.resized = new ResizeObserver(() => {
      this.planes().forEach((plane) => plane.fit());
      this.draw();
    });
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  planes() {
    return this.sides.flatMap((side) => side.planes);
  }

  /** Show what is packed in some bytes; settings stay, as far as they apply. */
  open(bytes) {
    if (bytes === this.bytes) return;
    const isFirst = this.bytes === undefined;
    this.bytes = bytes;
    this.scene = unpackScene(bytes);
    this.palette = new Palette(this.scene);
    this.settings = settingsOf(this.scene, isFirst ? addressText() : "");
    this.pathname = window.location.pathname;
    this.build();
  }

  /** Draw again whenever a plane's size on the screen changes. */
  watch() {
    this.resized.disconnect();
    for (const { canvas } of this.planes()) this.resized.observe(canvas);
  }

  build() {
    const { scene } = this;
    this.root.setAttribute("aria-label", `Scan ${scene.name}`);
    const lead = { moveTo: this.moveTo.bind(this), stepBy: this.stepBy.bind(this) };
    const change = (key, part) => {
      this.settings.scores.set(key, { ...this.settings.scores.get(key), ...part });
      this.changed();
    };
    this.sides = scene.sides.map((side) => new SideView(scene, side, lead, change));
    this.find(".sides").replaceChildren(...this.sides.map((side) => side.element));
    for (const input of this.root.querySelectorAll("[data-axis]")) {
      const axis = Number(input.dataset.axis);
      const first = axis === 2 ? scene.grid.first : 0;
      [input.min, input.max, input.step] = [first, first + scene.shape[axis] - 1, 1];
    }
    const { values } = scene.image.scale;
    const top = Math.max(scene.window[1] * 1.5, this.settings.high);
    for (const name of ["low", "high"])
      span(this.find(`[data-set=${name}]`), Math.min(values[0], 0, this.settings.low), top);
    const none = scene.lesionPlanes.length === 0;
    this.find("[data-do=start]").textContent = none ? "Middle of the brain" : "Largest lesion";
    for (const name of ["before", "after"]) this.find(`[data-do=${name}]`).disabled = none;
    this.find("[data-set=outline]").disabled = none;
    this.changed();
  }

  listen() {
    const act = {
      start: () => this.goTo(this.scene.start),
      before: () => this.goToLesion(-1),
      after: () => this.goToLesion(1),
      usual: () => {
        this.settings = usualSettings(this.scene);
        this.changed();
      },
    };
    for (const button of this.root.querySelectorAll("[data-do]"))
      button.addEventListener("click", act[button.dataset.do]);
    for (const input of this.root.querySelectorAll("[data-axis]"))
      input.addEventListener("input", () => {
        const axis = Number(input.dataset.axis);
        this.stepBy(axis, Number(input.value) - Number(input.min) - this.settings.at[axis]);
      });
    this.find("[data-set=outline]").addEventListener("change", (event) =>
      this.set({ outline: event.target.checked }),
    );
    for (const radio of this.root.querySelectorAll("[name=convention]"))
      radio.addEventListener("change", () =>
        this.set({ radiological: radio.value === "radiological" }),
      );
    for (const name of ["low", "high"])
      this.find(`[data-set=${name}]`).addEventListener("input", (event) => {
        const other = this.settings[name === "low" ? "high" : "low"];
        const value = short(event.target.value);
        if (name === "low" ? value < other : value > other) this.set({ [name]: value });
        else this.changed();
      });
  }

  set(part) {
    Object.assign(this.settings, part);
    this.changed();
  }

  goTo(at) {
    this.set({ at: at.map(clampedTo(this.scene.shape)) });
  }

  stepBy(axis, steps) {
    const at = [...this.settings.at];
    at[axis] += steps;
    at[axis] = Math.min(Math.max(at[axis], 0), this.scene.shape[axis] - 1);
    this.set({ at });
  }

  /** To the place at a share of a plane's width and height. */
  moveTo(plane, right, down) {
    const { flipped, across, down: rows } = directionOf(
      this.scene, plane, this.settings.radiological,
    );
    const at = [...this.settings.at];
    at[plane.across] = Math.floor((flipped ? 1 - right : right) * across);
    at[plane.down] = rows - 1 - Math.floor(down * rows);
    this.goTo(at);
  }

  /** To the next slice with a lesion above or below; around the end to the first. */
  goToLesion(direction) {
    const planes = this.scene.lesionPlanes;
    const [x, y, z] = this.settings.at;
    const beyond = direction > 0 ? planes.find((p) => p > z) : planes.findLast((p) => p < z);
    this.goTo([x, y, beyond ?? planes.at(direction > 0 ? 0 : -1)]);
  }

  /** Draw at the next frame, and tell the address once it is quiet. */
  changed() {
    remember(this.scene, this.settings);
    if (!this.isWaiting) {
      this.isWaiting = true;
      window.requestAnimationFrame(() => {
        this.isWaiting = false;
        this.draw();
      });
    }
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (window.location.pathname === this.pathname)
        writeAddress(written(this.scene, this.settings));
    }, WRITE_AFTER_MS);
  }

  draw() {
    const { root, scene, settings } = this;
    for (const plane of this.planes()) plane.fit();
    for (const side of this.sides) side.draw(scene, settings, this.palette);
    for (const input of root.querySelectorAll("[data-axis]")) {
      const value = Number(input.min) + settings.at[Number(input.dataset.axis)];
      show(input, value);
      input.nextElementSibling.textContent = value;
    }
    for (const name of ["low", "high"]) {
      const input = this.find(`[data-set=${name}]`);
      show(input, settings[name]);
      input.nextElementSibling.textContent = digits(settings[name]);
    }
    this.find("[data-set=outline]").checked = settings.outline;
    const convention = settings.radiological ? "radiological" : "neurological";
    this.find(`[value=${convention}]`).checked = true;
    this.find(".place").textContent = placeText(scene, settings.at);
    root.dataset.at = settings.at.join();
    root.dataset.draws = Number(root.dataset.draws) + 1;
  }

  close() {
    this.resized.disconnect();
    window.clearTimeout(this.timer);
  }
}

function placeText(scene, at) {
  const { voxel, mm } = placeOf(scene, at);
  const words = [["left", "right"], ["posterior", "anterior"], ["inferior", "superior"]];
  const mmText = mm.map((v, i) => `${Math.abs(v).toFixed(1)} mm ${words[i][v < 0 ? 0 : 1]}`);
  const parts = [
    `Voxel ${voxel.join(", ")} of the scan`,
    mmText.join(", "),
    `image ${numberAt(scene, scene.image, at)}`,
  ];
  if (scene.lesionPlanes.length)
    parts.push(scene.marks[indexOf(scene, at)] & LESION ? "in the lesion" : "not in the lesion");
  return parts.join(" · ");
}

const viewers = new WeakMap();

/** Called by Streamlit whenever there is something to show, or the theme changes. */
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".viewer");
  if (!root || !data) return;
  const viewer = viewers.get(root) ?? new Viewer(root);
  viewers.set(root, viewer);
  const turn = ++viewer.mounted;
  viewer.open(data);
  viewer.watch();
  // A call that was overtaken by a later one must not close what that one has opened.
  return () => viewer.mounted === turn && viewer.close();
}

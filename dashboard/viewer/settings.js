// What is looked at, and how: kept in the address, and in this tab for as long as it is open.
//
// The address has one parameter, ?view=, of parts with "_" between and "*" within: signs that
// addresses need not escape. Python never reads it. What it says of another scan or score than
// those shown is passed over, and so is all that makes no sense.

const PARAMETER = "view";
const OPACITY = 60;

const remembered = { places: new Map(), scores: new Map(), shared: null };

/** The settings of a scene: from the address, else as they were left in this tab, else the usual. */
function settingsOf(scene, text) {
  const told = toldBy(text);
  const shared = told.shared ?? remembered.shared;
  const at = told.key === scene.key ? told.at : remembered.places.get(scene.key);
  const settings = {
    ...usualLook(scene),
    ...shared,
    at: at ? [at[0], at[1], at[2] - scene.grid.first].map(clampedTo(scene.shape)) : scene.start,
    scores: new Map(),
  };
  for (const [score, place] of scoresOf(scene)) {
    if (settings.scores.has(score.key)) continue;
    const known = told.scores.get(score.key) ?? remembered.scores.get(score.key);
    const map = known && Object.hasOwn(scene.colour_maps, known.map) ? known.map : mapOf(scene, place);
    settings.scores.set(score.key, { ...usualScore(score), ...known, map });
  }
  remember(scene, settings);
  return settings;
}

/** The settings of a scene that is shown for the first time. */
function usualSettings(scene) {
  const scores = new Map();
  for (const [score, place] of scoresOf(scene)) {
    if (!scores.has(score.key))
      scores.set(score.key, { ...usualScore(score), map: mapOf(scene, place) });
  }
  return { ...usualLook(scene), at: [...scene.start], scores };
}

function usualLook(scene) {
  return { low: scene.window[0], high: scene.window[1], radiological: false, outline: true };
}

function usualScore(score) {
  return { threshold: score.threshold, opacity: OPACITY };
}

function mapOf(scene, place) {
  const names = Object.keys(scene.colour_maps);
  return names[place % names.length];
}

function* scoresOf(scene) {
  for (const side of scene.sides) {
    for (const [place, score] of side.scores.entries()) yield [score, place];
  }
}

function clampedTo(shape) {
  return (v, axis) => Math.min(Math.max(Math.round(v), 0), shape[axis] - 1);
}

/** Keep settings for when this tab comes back to the scan, or shows a score again. */
function remember(scene, settings) {
  const { at, scores, ...shared } = settings;
  remembered.places.set(scene.key, [at[0], at[1], at[2] + scene.grid.first]);
  const usual = usualLook(scene);
  const own = Object.entries(shared).filter(([name, value]) => value !== usual[name]);
  remembered.shared = Object.fromEntries(own);
  for (const [key, value] of scores) remembered.scores.set(key, value);
}

/** Settings as the address has them: the place, and what is not as usual. */
function written(scene, settings) {
  const usual = usualSettings(scene);
  const [x, y, z] = settings.at;
  const parts = [["at", scene.key, x, y, z + scene.grid.first]];
  if (settings.low !== usual.low || settings.high !== usual.high)
    parts.push(["win", short(settings.low), short(settings.high)]);
  if (settings.radiological) parts.push(["rad"]);
  if (!settings.outline) parts.push(["bare"]);
  for (const [key, { threshold, opacity, map }] of settings.scores) {
    const before = usual.scores.get(key);
    if (threshold !== before.threshold || opacity !== before.opacity || map !== before.map)
      parts.push(["s", key, threshold === null ? "all" : short(threshold), opacity, map]);
  }
  return parts.map((part) => part.join("*")).join("_");
}

/** A number with six digits. */
function short(value) {
  return Number(Number(value).toPrecision(6));
}

/** What the address says; anything may stand there. */
function toldBy(text) {
  const told = { key: null, at: null, shared: null, scores: new Map() };
  if (!text) return told;
  told.shared = {};
  for (const part of text.slice(0, 2000).split("_")) {
    const [kind, ...words] = part.split("*");
    const numbers = words.map((word) => (word === "" ? NaN : Number(word)));
    if (kind === "at" && numbers.length === 4 && numbers.slice(1).every(Number.isFinite)) {
      [told.key, told.at] = [words[0], numbers.slice(1)];
    } else if (kind === "win" && numbers.length === 2 && numbers.every(Number.isFinite)) {
      if (numbers[0] < numbers[1]) [told.shared.low, told.shared.high] = numbers;
    } else if (kind === "rad") {
      told.shared.radiological = true;
    } else if (kind === "bare") {
      told.shared.outline = false;
    } else if (kind === "s" && words.length === 4) {
      const threshold = words[1] === "all" ? null : numbers[1];
      const opacity = numbers[2];
      if ((threshold === null || Number.isFinite(threshold)) && opacity >= 0 && opacity <= 100)
        told.scores.set(words[0], { threshold, opacity, map: words[3] });
    }
  }
  return told;
}

function addressText() {
  return new URL(window.location.href).searchParams.get(PARAMETER) ?? "";
}

function writeAddress(text) {
  const url = new URL(window.location.href);
  if (url.searchParams.get(PARAMETER) === text) return;
  url.searchParams.set(PARAMETER, text);
  window.history.replaceState(window.history.state, "", url);
}

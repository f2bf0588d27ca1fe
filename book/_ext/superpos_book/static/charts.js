// Draws every chart of the page from the JSON in its block, and again when the reader turns the theme.
const dark = {
  background: "transparent",
  title: { color: "#eee", subtitleColor: "#bbb" },
  axis: { labelColor: "#ccc", titleColor: "#ddd", gridColor: "#444", domainColor: "#888", tickColor: "#888" },
  legend: { labelColor: "#ccc", titleColor: "#ddd" },
  header: { labelColor: "#ccc", titleColor: "#ddd" },
  text: { color: "#eee" },
};
const light = { background: "transparent" };

const isDark = () => document.documentElement.dataset.theme === "dark";

// A table of the page, read anew for each chart, since Vega writes into rows.
const table = (name) => JSON.parse(document.getElementById(`table-${name}`).textContent);

async function draw(block) {
  const spec = JSON.parse(block.querySelector("script").textContent);
  for (const [name, held] of Object.entries(spec.datasets ?? {})) spec.datasets[name] = table(held);
  const room = block.querySelector(".superpos-room") ?? block.appendChild(document.createElement("div"));
  room.className = "superpos-room";
  const overlay = isDark() ? dark : light;
  const options = { renderer: "svg", actions: { source: false, editor: false, compiled: false, export: true } };
  let given = fitted(wrapped(merged(spec, overlay), block.clientWidth), block.clientWidth);
  await vegaEmbed(room, given, options);
  for (let tries = 0; tries < 6 && excess(room, block) > 0; tries++) {
    given = narrower(given, room, block);
    await vegaEmbed(room, given, options);
  }
  reachable(room, JSON.stringify(spec.params ?? spec.layer ?? spec.vconcat ?? "").includes('"legend"'));
  block.dataset.drawn = isDark() ? "dark" : "light";
}

// What the mouse can do the keyboard can: the menu of a chart has a name, and the labels of a legend that picks are buttons.
function reachable(room, picks) {
  room.querySelector("summary")?.setAttribute("aria-label", "Save this chart");
  if (!picks) return;
  for (const legend of room.querySelectorAll(".role-legend")) // a group of buttons is no picture
    for (const name of ["role", "aria-label", "aria-roledescription"]) legend.removeAttribute(name);
  for (const label of room.querySelectorAll(".role-legend-label text")) {
    label.setAttribute("tabindex", "0");
    label.setAttribute("role", "button");
    label.setAttribute("aria-label", `Show only ${label.textContent}`);
    label.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      label.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: event.shiftKey }));
    });
  }
}

// A title of several lines has as many as fit the room.
function wrapped(spec, room) {
  const title = spec.title?.text ?? spec.title;
  if (title === undefined) return spec;
  const most = Math.max(20, Math.floor((room - 44) / 8.2));
  const given = Array.isArray(title) ? title : [title];
  if (given.every((line) => line.length <= most)) return spec;
  const lines = lined(given.join(" "), most);
  return { ...spec, title: spec.title?.text === undefined ? lines : { ...spec.title, text: lines } };
}

// A text in lines of so many letters at most, a longer word alone.
function lined(text, most) {
  const lines = [];
  for (const word of text.split(" ")) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && longer.length <= most) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

// The title of a horizontal axis that is longer than its plot is wide, in lines.
function shortTitled(one) {
  const x = one.encoding?.x, most = Math.max(16, Math.floor(one.width / 6.8));
  const long = typeof x?.title === "string" && x.title.length > most;
  const encoding = long ? { encoding: { ...one.encoding, x: { ...x, title: lined(x.title, most) } } } : {};
  const layer = one.layer ? { layer: one.layer.map((part) => { const { width, ...rest } = shortTitled({ ...part, width: one.width }); return rest; }) } : {};
  return { ...one, ...encoding, ...layer };
}

function merged(spec, overlay) {
  const config = { ...(spec.config ?? {}) };
  for (const [name, value] of Object.entries(overlay)) {
    config[name] = typeof value === "object" ? { ...(config[name] ?? {}), ...value } : value;
  }
  return { ...spec, config };
}

// On a narrow window the plot shrinks and its legend goes below.
function fitted(spec, room) {
  const margin = 110;
  const below = { ...spec.config, legend: { ...spec.config?.legend, orient: "bottom", columns: 2 } };
  const shrunk = (width) => Math.max(160, Math.min(width, room - margin));
  if (Array.isArray(spec.vconcat)) {
    if (spec.vconcat.every((part) => room >= part.width + 2 * margin)) return spec;
    return { ...spec, vconcat: spec.vconcat.map((part) => ({ ...part, width: shrunk(part.width) })), config: below };
  }
  if (typeof spec.width !== "number" || room >= spec.width + 2 * margin) return spec;
  return { ...spec, width: shrunk(spec.width), config: below };
}

// By how many pixels a chart, with its menu beside it, is wider than the column.
function excess(room, block) {
  const beside = parseFloat(getComputedStyle(room).paddingRight);
  return Math.ceil(room.querySelector("svg.marks").getBoundingClientRect().width + beside) - block.clientWidth;
}

// The same chart narrower: its legends below it, and where they are below, an entry a line; then its plots by what is too much.
function narrower(spec, room, block) {
  const column = block.clientWidth;
  const left = room.getBoundingClientRect().left;
  const widest = Math.max(0, ...[...room.querySelectorAll(".role-legend")].map((one) => one.getBoundingClientRect().right - left));
  const legend = spec.config?.legend ?? {};
  if (widest && legend.orient !== "bottom") return { ...spec, config: { ...spec.config, legend: { ...legend, orient: "bottom", columns: 2 } } };
  if (widest > column - 34 && legend.columns !== 1)
    return { ...spec, config: { ...spec.config, legend: { ...legend, columns: 1, labelLimit: column - 90 } } };
  const less = (one) => (typeof one.width === "number" ? shortTitled({ ...one, width: Math.max(100, one.width - excess(room, block)) }) : one);
  return Array.isArray(spec.vconcat) ? { ...spec, vconcat: spec.vconcat.map(less) } : less(spec);
}

// One after the other, from the top, so that the first is there soon; a theme that is turned meanwhile starts anew.
const blocks = [...document.querySelectorAll(".superpos-chart")];
let turn = 0, shown;
async function drawAll() {
  if (shown === isDark()) return;
  shown = isDark();
  const mine = ++turn;
  for (const [i, block] of blocks.entries()) {
    if (i) await new Promise((resume) => setTimeout(resume));
    if (mine !== turn) return;
    await draw(block);
  }
}
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
drawAll();

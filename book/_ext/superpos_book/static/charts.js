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
  await vegaEmbed(room, fitted(wrapped(merged(spec, overlay), block.clientWidth), block.clientWidth), options);
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
  const most = Math.max(24, Math.floor((room - 30) / 7.6)), lines = [];
  const given = Array.isArray(title) ? title : [title];
  if (given.every((line) => line.length <= most)) return spec;
  for (const word of given.join(" ").split(" ")) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && longer.length <= most) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return { ...spec, title: spec.title?.text === undefined ? lines : { ...spec.title, text: lines } };
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

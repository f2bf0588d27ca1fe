// What every page needs: scroll areas that the keyboard reaches, and the filter of the tables of verdicts.
const scrolling = "pre, .superpos-scroll, .superpos-chart, .cell_output, table.dataframe, div.math";
function reach() {
  for (const one of document.querySelectorAll(scrolling)) {
    if (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1) one.tabIndex = 0;
    else if (one.tabIndex === 0) one.removeAttribute("tabindex");
  }
}
addEventListener("load", reach);
addEventListener("resize", reach);
document.addEventListener("toggle", reach, true);
document.addEventListener("click", () => setTimeout(reach, 50));

const rows = [...document.querySelectorAll("table.verdicts tbody tr")];
if (rows.length) filter();

function filter() {
  const words = [...new Set(rows.map((row) => row.dataset.word))].filter((word) => word !== "none");
  const chapters = [...new Map(rows.map((row) => [row.dataset.chapter, row.querySelector("th a").textContent]))].sort();
  const form = document.createElement("form");
  form.className = "superpos-filter";
  form.setAttribute("aria-label", "Which claims are shown");
  form.append(menu("chapter", "Chapter", chapters), menu("word", "Verdict", words.map((word) => [word, word])), search());
  const count = form.appendChild(document.createElement("output"));
  const show = () => {
    const asked = Object.fromEntries(new FormData(form)), text = asked.text.toLowerCase();
    for (const row of rows) {
      const meets = ["chapter", "word"].every((name) => !asked[name] || row.dataset[name] === asked[name]);
      row.hidden = !(meets && row.textContent.toLowerCase().includes(text));
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector("#superpos-filter")?.append(form);
  show();
}

function labelled(words, field) {
  const label = document.createElement("label");
  label.append(`${words} `, field);
  return label;
}

function menu(name, words, options) {
  const select = document.createElement("select");
  select.name = name;
  select.append(new Option("all", ""), ...options.map(([value, text]) => new Option(text, value)));
  return labelled(words, select);
}

function search() {
  const input = Object.assign(document.createElement("input"), { name: "text", type: "search", size: 16 });
  return labelled("Text", input);
}

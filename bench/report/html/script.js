// Everything works without it but sorting, filtering, downloading and the words on hover.
"use strict";
const all = (what, inside = document) => [...inside.querySelectorAll(what)];

// a table's heading sorts its lines, each block by itself
all("table.sortable").forEach(table => {
  const heads = [...table.tHead.rows].pop().cells;
  [...heads].forEach((head, at) => head.querySelector("button")?.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending";
    [...heads].forEach(h => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    all("tbody.rows", table).forEach(body => {
      const key = row => parseFloat(row.cells[at].dataset.sort);
      [...body.rows].sort((a, b) => {
        const x = key(a), y = key(b);
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return up ? x - y : y - x;
      }).forEach(row => body.append(row));
    });
  }));
});

// what is typed leaves the lines whose name holds it
all(".tools input").forEach(input => {
  const section = input.closest("section"), said = section.querySelector(".left-over");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().trim();
    const rows = all("tbody.rows tr", section);
    rows.forEach(row => {
      row.hidden = !(row.querySelector("th") ?? row).textContent.toLowerCase().includes(words);
    });
    said.textContent = words ? `${rows.filter(row => !row.hidden).length} of ${rows.length} rows` : "";
  });
});

function save(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: kind}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
// as bench/report/spreadsheet.py: an apostrophe before what a spreadsheet would run; a number stays one
const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s?%?$/i, run = /^[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/;
function csv(table) {
  const cell = text => {
    const line = text.replace(/\s+/g, " ").trim(), plain = line.replace(/^\u2212/, "-");
    const shown = number.test(plain) ? plain : (run.test(line) ? "'" : "") + line;
    return `"${shown.replaceAll('"', '""')}"`;
  };
  return all("tr", table).filter(row => !row.hidden && !row.classList.contains("over"))
    .map(row => [...row.cells].map(one => cell(one.innerText)).join(",")).join("\n") + "\n";
}
all("button.csv").forEach(button => button.addEventListener("click", () =>
  save(button.dataset.name, "text/csv", csv(button.closest("section").querySelector("table")))));
all("button.tex").forEach(button => button.addEventListener("click", () =>
  save(button.dataset.name, "text/x-tex", button.closest("section").querySelector("pre.tex").textContent)));

// words on hover and on focus: one stop of the tab key for a table, arrows go from cell to cell
const tip = Object.assign(document.createElement("div"), {className: "tip", id: "tip", hidden: true});
tip.setAttribute("role", "tooltip");
document.body.append(tip);
function show(cell) {
  tip.textContent = cell.dataset.tip;
  tip.hidden = false;
  cell.setAttribute("aria-describedby", "tip");
  const box = cell.getBoundingClientRect(), wide = tip.offsetWidth;
  const left = Math.max(8, Math.min(box.left + scrollX, scrollX + document.documentElement.clientWidth - wide - 8));
  const above = box.top > tip.offsetHeight + 10;
  tip.style.left = `${left}px`;
  tip.style.top = `${scrollY + (above ? box.top - tip.offsetHeight - 6 : box.bottom + 6)}px`;
}
function hide(cell) {
  tip.hidden = true;
  cell?.removeAttribute("aria-describedby");
}
document.addEventListener("mouseover", e => { const c = e.target.closest?.("[data-tip]"); if (c) show(c); });
document.addEventListener("mouseout", e => { const c = e.target.closest?.("[data-tip]"); if (c) hide(c); });
document.addEventListener("focusin", e => { const c = e.target.closest?.("[data-tip]"); if (c) show(c); else hide(); });
document.addEventListener("focusout", e => hide(e.target.closest?.("[data-tip]")));
all("table").forEach(table => {
  const cells = all("[data-tip]", table);
  if (cells.length) cells[0].tabIndex = 0;
  table.addEventListener("keydown", e => {
    if (e.key === "Escape") return hide(document.activeElement);
    const move = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[e.key];
    const from = e.target.closest("[data-tip]");
    if (!move || !from) return;
    const rows = all("tbody tr", table).filter(row => !row.hidden);
    let y = rows.indexOf(from.parentElement), x = from.cellIndex, to = null;
    for (let n = 0; n < 200 && !to?.dataset.tip; n++) {
      y += move[0]; x += move[1];
      to = rows[y]?.cells[x];
      if (!rows[y] || (!to && move[1])) return;
    }
    if (!to) return;
    e.preventDefault();
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  });
});

// paper shows all
addEventListener("beforeprint", () => all("details:not([open])").forEach(d => { d.open = true; d.dataset.shut = ""; }));
addEventListener("afterprint", () => all("details[data-shut]").forEach(d => { d.open = false; delete d.dataset.shut; }));

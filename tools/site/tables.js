// A table that is wider than its column is stacked: one block a row, each cell below its heading.
addEventListener("DOMContentLoaded", () => {
  const tables = [...document.querySelectorAll("main table")].filter((table) => table.tHead);
  for (const table of tables) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, i) => { cell.dataset.label = cell.textContent.trim() && names[i]; });
    }
  }
  const fit = () => {
    for (const table of tables) {
      table.classList.remove("stacked");
      table.classList.toggle("stacked", table.scrollWidth > table.clientWidth + 1);
    }
  };
  addEventListener("load", fit);   // formulas and fonts are there
  addEventListener("resize", fit);
});

"use strict";
// Without this script the page shows the same; it sorts, finds, widens, and leads from bars to rows.
const body = document.querySelector("#steps tbody");
const rows = Array.from(body.rows);
const value = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent;
const compare = (a, b) => {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
};
document.querySelectorAll("#steps th").forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    document.querySelectorAll("#steps th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
    body.append(...rows);
  });
});
document.querySelector("#find").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
});
document.querySelector("#wide").addEventListener("input", (event) => {
  document.querySelector(".plot").setAttribute("width", `${100 * 2 ** Number(event.target.value)}%`);
});
document.querySelectorAll(".plot g[data-step]").forEach((bar) => {
  bar.addEventListener("click", () => {
    document.querySelectorAll(".picked").forEach((other) => other.classList.remove("picked"));
    const row = document.getElementById(`s${bar.dataset.step}`);
    bar.classList.add("picked");
    row.classList.add("picked");
    row.hidden = false;
    row.scrollIntoView({ block: "center" });
  });
});

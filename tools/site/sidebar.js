// The sidebar: it stands at the current page, and its folds answer the keyboard.
addEventListener("DOMContentLoaded", () => {
  const bar = document.querySelector("#quarto-sidebar");
  if (!bar) return;
  for (const arrow of bar.querySelectorAll(".sidebar-item-toggle")) {
    arrow.removeAttribute("role");
    arrow.setAttribute("aria-hidden", "true");   // for the mouse: the name beside it does the same
  }
  for (const name of bar.querySelectorAll("a.sidebar-item-text[data-bs-toggle]")) {
    name.setAttribute("role", "button");
    name.tabIndex = 0;
    name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      name.click();
    });
  }
  const here = bar.querySelector(".sidebar-link.active");
  if (here) {
    const down = here.getBoundingClientRect().top - bar.getBoundingClientRect().top;
    bar.scrollTop += down - bar.clientHeight / 3;
  }
});

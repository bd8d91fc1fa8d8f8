"use strict";
// The reader's choice of light or dark, for this visit only: nothing is stored.
(() => {
  const button = document.getElementById("theme");
  const choices = ["system", "light", "dark"];
  let chosen = 0;
  button.hidden = false;
  button.addEventListener("click", () => {
    chosen = (chosen + 1) % choices.length;
    document.documentElement.dataset.theme = choices[chosen];
    button.querySelector("span").textContent = choices[chosen];
  });
})();

// SPDX-FileCopyrightText: usdx.rollback contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// Puts each diagram where Sphinx has left its source text. Where scripts are off, the text stays.
mermaid.initialize({ startOnLoad: false, theme: "default" });
document.addEventListener("DOMContentLoaded", async () => {
  for (const source of document.querySelectorAll(".highlight-mermaid")) {
    const diagram = document.createElement("div");
    diagram.className = "mermaid";
    diagram.textContent = source.textContent;
    source.replaceWith(diagram);
  }
  await mermaid.run();
  // On a narrow screen a diagram is scrolled, not shrunk until nobody can read it.
  for (const picture of document.querySelectorAll(".mermaid svg")) {
    picture.style.minWidth = `calc(${picture.style.maxWidth} * 0.6)`;
  }
});

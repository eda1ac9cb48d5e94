(() => {
  if (innerWidth > 640) {
    for (const values of document.querySelectorAll("figure.alone details")) values.open = true; // beside their picture
  }
  const box = document.getElementById("tip");
  for (const part of document.querySelectorAll("svg.chart .tip")) {
    const title = part.querySelector("title");
    part.dataset.text = title.textContent;
    title.remove(); // or the browser would show it too
  }
  const show = (event) => {
    const part = event.target.closest && event.target.closest("svg.chart .tip");
    if (!part) {
      box.hidden = true;
      return;
    }
    box.textContent = part.dataset.text;
    box.hidden = false;
    const gap = 14, left = event.clientX + gap, top = event.clientY + gap;
    const fits = left + box.offsetWidth + 8 < innerWidth;
    box.style.left = `${Math.max(8, fits ? left : event.clientX - box.offsetWidth - gap)}px`;
    box.style.top = `${Math.max(8, Math.min(top, innerHeight - box.offsetHeight - 8))}px`;
  };
  addEventListener("pointermove", show);
  addEventListener("pointerdown", show);
  addEventListener("scroll", () => { box.hidden = true; }, { passive: true });
})();

"use strict";
// Text on hover, touch and arrow keys; zoom. Without this script the picture and its table stand.
for (const map of document.querySelectorAll(".map")) {
  const data = JSON.parse(map.querySelector(".map-data").textContent);
  const find = (name) => map.querySelector(name);
  const [stage, plot, tip, ring] = [".map-stage", ".map-plot", ".map-tip", ".map-ring"].map(find);
  const boxes = [...map.querySelectorAll(".map-legend input")];
  const paths = boxes.map((_, group) => find(`.map-plot .map-group-${group}`));
  const xs = data.x, ys = data.y, count = xs.length;
  const members = paths.map(() => []);
  data.shown.forEach((group, row) => members[group].push(row));
  const bounds = { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  const whole = { x: (bounds.left + bounds.right) / 2, y: (bounds.top + bounds.bottom) / 2 };
  const MARGIN = 24, DEEPEST = 40;
  let view = { ...whole, zoom: 1 }, width = 0, height = 0, fine = 1, selected = -1, drag = null, frame = 0;

  // ---- from the data to the screen and back

  const unit = () => view.zoom * Math.min(
    (width - 2 * MARGIN) / Math.max(1, bounds.right - bounds.left),
    (height - 2 * MARGIN) / Math.max(1, bounds.bottom - bounds.top));
  const across = (row) => (xs[row] - view.x) * unit() + width / 2;
  const down = (row) => (ys[row] - view.y) * unit() + height / 2;
  const visible = (row) => boxes[data.shown[row]].checked;
  const inside = (row) => across(row) >= 0 && across(row) <= width && down(row) >= 0 && down(row) <= height;

  const draw = () => {
    frame = 0;
    const scale = unit(), left = width / 2 - view.x * scale, top = height / 2 - view.y * scale;
    paths.forEach((path, group) => {
      const mark = path.dataset.mark;
      let d = "";
      for (const row of members[group]) {
        const x = xs[row] * scale + left, y = ys[row] * scale + top;
        if (x > -9 && x < width + 9 && y > -9 && y < height + 9) d += `M${x.toFixed(1)} ${y.toFixed(1)}${mark}`;
      }
      path.setAttribute("d", d);
    });
    stage.classList.toggle("zoomed", view.zoom > 1);
    show(selected);
  };
  const redraw = () => { frame ||= requestAnimationFrame(draw); };

  const focus = () => selected < 0 ? [width / 2, height / 2] : [across(selected), down(selected)];
  const zoom = (factor, [x, y] = focus()) => {
    const before = unit(), next = Math.min(DEEPEST, Math.max(1, view.zoom * factor));
    if (next === 1) {
      view = { ...whole, zoom: 1 };
    } else {
      // what lies under (x, y) stays there
      const [atX, atY] = [view.x + (x - width / 2) / before, view.y + (y - height / 2) / before];
      view.zoom = next;
      view.x = atX - (x - width / 2) / unit();
      view.y = atY - (y - height / 2) / unit();
    }
    redraw();
  };

  // ---- one text

  const show = (row) => {
    selected = row >= 0 && visible(row) && inside(row) ? row : -1;
    tip.hidden = selected < 0;
    ring.setAttribute("r", selected < 0 ? 0 : 8);
    if (selected < 0) return;
    const [x, y] = [across(row), down(row)];
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    tip.querySelector("strong").textContent = data.names[data.group[row]];
    tip.querySelector("span").textContent = data.texts[row];
    const left = Math.min(Math.max(8, x / fine + 14), width / fine - tip.offsetWidth - 8);
    const above = y / fine - tip.offsetHeight - 14;
    tip.style.transform = `translate(${Math.max(8, left)}px, ${above >= 0 ? above : y / fine + 14}px)`;
  };
  const say = () => {
    find(".map-status").textContent = selected < 0 ? "" : `${data.names[data.group[selected]]}: ${data.texts[selected]}`;
  };
  // the visible row with the least cost, or -1; an infinite cost is no candidate
  const least = (cost) => {
    let best = -1, lowest = Infinity;
    for (let row = 0; row < count; row++) {
      const paid = visible(row) ? cost(row) : Infinity;
      if (paid < lowest) [best, lowest] = [row, paid];
    }
    return best;
  };
  const nearest = (x, y, reach) => least((row) => {
    const distance = Math.hypot(across(row) - x, down(row) - y);
    return distance <= reach ? distance : Infinity;
  });
  const step = (dx, dy) => {
    if (selected < 0) return nearest(width / 2, height / 2, Infinity);
    const found = least((row) => {
      const [x, y] = [xs[row] - xs[selected], ys[row] - ys[selected]];
      const [ahead, aside] = [x * dx + y * dy, Math.abs(x * dy - y * dx)];
      return ahead > 0 && aside <= ahead ? ahead + 2 * aside : Infinity;
    });
    return found < 0 ? selected : found;
  };

  // ---- mouse, touch, keys

  const at = (event) => {
    const box = plot.getBoundingClientRect();
    return [(event.clientX - box.left) * fine, (event.clientY - box.top) * fine];
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.isPrimary && event.button === 0) drag = { from: at(event), view: { ...view }, moved: false };
  });
  stage.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (drag && event.buttons) {
      const [dx, dy] = [x - drag.from[0], y - drag.from[1]];
      drag.moved ||= Math.hypot(dx, dy) > 5;
      if (!drag.moved || view.zoom === 1) return;
      stage.setPointerCapture(event.pointerId);
      view.x = drag.view.x - dx / unit();
      view.y = drag.view.y - dy / unit();
      redraw();
    } else if (event.pointerType === "mouse") {
      show(nearest(x, y, 18));
    }
  });
  stage.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) show(nearest(...at(event), 30));
    drag = null;
  });
  stage.addEventListener("pointercancel", () => { drag = null; });
  stage.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") show(-1); });
  stage.addEventListener("dblclick", (event) => zoom(2, at(event)));
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;  // the page scrolls
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 200), at(event));
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const others = { "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(1 / 1.6), 0: () => zoom(0), Escape: () => show(-1) };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in arrows || event.key in others)) return;
    event.preventDefault();
    if (event.key in others) { others[event.key](); return; }
    const row = step(...arrows[event.key]);
    if (row >= 0 && !inside(row)) {
      [view.x, view.y, selected] = [xs[row], ys[row], row];
      draw();
    } else {
      show(row);
    }
    say();
  });
  stage.addEventListener("blur", () => show(-1));
  const tick = (on) => { for (const box of boxes) box.checked = on; show(selected); };
  const acts = {
    in: () => zoom(1.6), out: () => zoom(1 / 1.6), reset: () => zoom(0),
    all: () => tick(true), none: () => tick(false),
  };
  for (const button of map.querySelectorAll("[data-do]")) button.addEventListener("click", acts[button.dataset.do]);
  for (const box of boxes) box.addEventListener("change", () => show(selected));

  // ---- start: the stage takes the keyboard, and marks keep their size on every screen

  for (const part of map.querySelectorAll(".map-tools, .map-help")) part.hidden = false;
  stage.tabIndex = 0;
  stage.setAttribute("role", "application");
  stage.setAttribute("aria-roledescription", "scatter plot");
  stage.setAttribute("aria-label", plot.getAttribute("aria-label"));
  stage.setAttribute("aria-describedby", find(".map-help").id);
  new ResizeObserver(() => {
    fine = plot.clientWidth < 500 ? 1.4 : 1;  // smaller marks on a phone
    [width, height] = [plot.clientWidth * fine, plot.clientHeight * fine];
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    draw();
  }).observe(plot);
}

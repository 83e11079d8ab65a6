"use strict";
// Pointing at a pixel, zooming and moving: in all panels at once.

(() => {
  const MOST = 64; // Times that a picture is enlarged at most.
  const place = () => document.getElementById("panels");

  // The picture's share at a place on the screen.
  const shareAt = (view, x, y) => {
    const box = view.getBoundingClientRect();
    const { zoom, left, top } = viewer.state.view;
    return [left + (x - box.left) / box.width / zoom, top + (y - box.top) / box.height / zoom];
  };

  const pixelAt = (panel, x, y) => {
    const [across, down] = shareAt(panel.view, x, y);
    const inside = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    return [inside(down, panel.height), inside(across, panel.width)];
  };

  const setView = (zoom, left, top) => {
    zoom = Math.min(MOST, Math.max(1, zoom));
    const inside = (x) => Math.min(1 - 1 / zoom, Math.max(0, x));
    viewer.set({ view: { zoom, left: inside(left), top: inside(top) } });
  };

  // Enlarge by a factor; the picture's point at (across, down) stays where it is.
  const zoomAt = (factor, across, down) => {
    const { zoom, left, top } = viewer.state.view;
    const next = Math.min(MOST, Math.max(1, zoom * factor));
    setView(next, across - (across - left) * (zoom / next), down - (down - top) * (zoom / next));
  };

  // Around the marked pixel, or the middle.
  const zoomBy = (factor) => {
    const { zoom, left, top } = viewer.state.view;
    const { pixel } = viewer.state;
    const [height, width] = viewer.runs[0].facts.size;
    let point = [left + 0.5 / zoom, top + 0.5 / zoom];
    if (pixel) {
      const marked = [(pixel[1] + 0.5) / width, (pixel[0] + 0.5) / height];
      const seen = (share, start) => share >= start && share <= start + 1 / zoom;
      if (seen(marked[0], left) && seen(marked[1], top)) point = marked;
    }
    zoomAt(factor, ...point);
  };

  const applyView = () => {
    const { zoom, left, top } = viewer.state.view;
    place().style.setProperty("--zoom", zoom);
    place().style.setProperty("--left", 100 * left);
    place().style.setProperty("--top", 100 * top);
    place().classList.toggle("zoomed", zoom > 1);
  };

  const applyPixel = () => {
    const { pixel } = viewer.state;
    const where = document.getElementById("where");
    if (pixel) {
      const [height, width] = viewer.runs[0].facts.size;
      place().style.setProperty("--column", (100 * (pixel[1] + 0.5)) / width);
      place().style.setProperty("--row", (100 * (pixel[0] + 0.5)) / height);
      where.textContent = `Pixel in row ${pixel[0]}, column ${pixel[1]} (from 0, at the upper left). Its values are below each map.`;
    }
    viewer.panels.read();
  };

  const attach = (panel) => {
    const { view } = panel;
    const held = new Map(); // Pointers that are down: where they are.
    let moved = 0;
    let distance = 0;

    const spread = () => {
      const [a, b] = [...held.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };

    view.addEventListener("pointerdown", (event) => {
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
      view.setPointerCapture(event.pointerId);
      moved = 0;
      if (held.size === 2) distance = spread();
      else viewer.set({ pixel: pixelAt(panel, event.clientX, event.clientY) });
    });
    view.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) {
        viewer.set({ pixel: pixelAt(panel, event.clientX, event.clientY) });
        return;
      }
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const box = view.getBoundingClientRect();
      const { zoom, left, top } = viewer.state.view;
      if (held.size === 2) {
        const [a, b] = [...held.values()];
        const next = spread();
        zoomAt(next / (distance || next), ...shareAt(view, (a.x + b.x) / 2, (a.y + b.y) / 2));
        distance = next;
      } else {
        const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
        moved += Math.abs(dx) + Math.abs(dy);
        if (zoom > 1) setView(zoom, left - dx / box.width / zoom, top - dy / box.height / zoom);
        else viewer.set({ pixel: pixelAt(panel, event.clientX, event.clientY) });
      }
    });
    const release = (event) => held.delete(event.pointerId);
    view.addEventListener("pointerup", release);
    view.addEventListener("pointercancel", release);
    view.addEventListener("dblclick", (event) => {
      if (moved > 6) return;
      zoomAt(event.shiftKey ? 0.5 : 2, ...shareAt(view, event.clientX, event.clientY));
    });
    view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== view) return;
      event.preventDefault();
      zoomAt(2 ** (-event.deltaY / 240), ...shareAt(view, event.clientX, event.clientY));
    }, { passive: false });
    view.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      const step = steps[event.key];
      if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const far = event.shiftKey ? 10 : 1;
      const [row, column] = viewer.state.pixel || [panel.height >> 1, panel.width >> 1];
      const inside = (x, count) => Math.min(count - 1, Math.max(0, x));
      const pixel = [inside(row + far * step[0], panel.height), inside(column + far * step[1], panel.width)];
      viewer.set({ pixel });
      keepInView(panel, pixel);
      speak(panel, pixel);
    });
  };

  // Move the view so that a pixel is seen.
  const keepInView = (panel, [row, column]) => {
    const { zoom, left, top } = viewer.state.view;
    const shift = (share, start) => (share < start || share > start + 1 / zoom ? share - 0.5 / zoom : start);
    setView(zoom, shift((column + 0.5) / panel.width, left), shift((row + 0.5) / panel.height, top));
  };

  let timer = 0;
  const speak = (panel, [row, column]) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const all = viewer.panels.shown().filter((other) => other.map);
      const parts = [panel, ...all.filter((other) => other !== panel)]
        .filter((other) => other.map)
        .map((other) => `${other.label}: ${viewer.panels.wordsOf(other, row, column)}`);
      document.getElementById("spoken").textContent = `Row ${row}, column ${column}. ${parts.join("; ")}`;
    }, 350);
  };

  const build = () => {
    for (const panel of viewer.panels.list) attach(panel);
    viewer.on("view", applyView);
    viewer.on("pixel", applyPixel);
    applyView();
  };

  viewer.pointer = { build, zoomBy, setView };
})();

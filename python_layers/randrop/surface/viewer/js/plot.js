"use strict";
// Line graphs as SVG. Colours are attributes, so a saved graph keeps them without the page.

(() => {
  const { svg, el } = viewer;
  const [WIDTH, HEIGHT] = [420, 250];
  const EDGE = { left: 52, right: 12, top: 10, bottom: 34 };
  const [INNER, DEPTH] = [WIDTH - EDGE.left - EDGE.right, HEIGHT - EDGE.top - EDGE.bottom];
  const FONT = { "font-family": "system-ui, sans-serif", "font-size": 11, fill: "#59636e" };

  // About `count` round numbers between two.
  const ticks = (low, high, count) => {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) found.push(n * step);
    return found;
  };

  const logTicks = (low, high) => {
    const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
    const every = Math.max(1, Math.ceil((to - from) / 5));
    const found = [];
    for (let n = from; n <= to; n += every) found.push(10 ** n);
    if (found.length > 1) return found;
    return [1, 2, 3, 5].flatMap((m) => [m * 10 ** (from - 1), m * 10 ** from])
      .filter((x) => x >= low && x <= high).sort((a, b) => a - b);
  };

  const axis = (low, high, length, isLog, start, direction) => {
    const f = isLog ? Math.log : (x) => x;
    const [a, b] = [f(low), f(high)];
    return {
      place: (x) => start + (direction * length * (f(x) - a)) / (b - a || 1),
      ticks: isLog ? logTicks(low, high) : ticks(low, high, 5),
    };
  };

  const isNumber = (x) => x !== null && x !== undefined && Number.isFinite(x);

  const bounds = (numbers, isLog) => {
    const good = numbers.filter((x) => isNumber(x) && (!isLog || x > 0));
    if (!good.length) return isLog ? [0.1, 1] : [0, 1];
    let [low, high] = [good.reduce((a, b) => Math.min(a, b)), good.reduce((a, b) => Math.max(a, b))];
    if (isLog) return low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
    const margin = 0.04 * (high - low) || Math.abs(high) * 0.1 || 1;
    return [low - margin, high + margin];
  };

  const path = (series, across, down, isLog) => {
    let text = "";
    let pen = "M";
    series.x.forEach((x, n) => {
      const y = series.y[n];
      if (!isNumber(y) || (isLog && y <= 0)) { pen = "M"; return; }
      text += `${pen}${across.place(x).toFixed(1)} ${down.place(y).toFixed(1)}`;
      pen = "L";
    });
    return text;
  };

  // Draw a graph into a figure. options: title, x, y (axis names), series (name, x, y,
  // colour, dash, marks), range and domain (fixed ends), log, pick (called with x),
  // cursor (x), at (index of the shown point, for the legend's numbers).
  const draw = (figure, options) => {
    const isLog = Boolean(options.log);
    const { series } = options;
    const [left, right] = options.domain || bounds(series.flatMap((s) => s.x), false);
    const [low, high] = options.range || bounds(series.flatMap((s) => s.y), isLog);
    const across = axis(left, right, INNER, false, EDGE.left, 1);
    const down = axis(low, high, DEPTH, isLog, EDGE.top + DEPTH, -1);
    const bottom = EDGE.top + DEPTH;
    const grid = { class: "grid", stroke: "#d8dee4", "stroke-width": 1 };
    const parts = [
      svg("rect", { class: "back", width: WIDTH, height: HEIGHT, fill: "#fff" }),
      ...across.ticks.flatMap((x) => [
        svg("line", { ...grid, x1: across.place(x), x2: across.place(x), y1: EDGE.top, y2: bottom }),
        svg("text", { ...FONT, x: across.place(x), y: bottom + 14, "text-anchor": "middle" }, tick(x)),
      ]),
      ...down.ticks.flatMap((y) => [
        svg("line", { ...grid, x1: EDGE.left, x2: EDGE.left + INNER, y1: down.place(y), y2: down.place(y) }),
        svg("text", { ...FONT, x: EDGE.left - 6, y: down.place(y) + 4, "text-anchor": "end" }, tick(y)),
      ]),
      svg("line", { class: "axis", stroke: "#59636e", x1: EDGE.left, x2: EDGE.left + INNER, y1: bottom, y2: bottom }),
      svg("text", { ...FONT, x: EDGE.left + INNER / 2, y: HEIGHT - 5, "text-anchor": "middle" }, options.x),
      svg("text", { ...FONT, x: 0, y: 0, "text-anchor": "middle",
        transform: `translate(11 ${EDGE.top + DEPTH / 2}) rotate(-90)` }, options.y),
    ];
    if (options.diagonal) {
      parts.push(svg("line", { ...grid, x1: across.place(0), y1: down.place(0), x2: across.place(1), y2: down.place(1),
        "stroke-dasharray": "3 3", class: "axis", stroke: "#59636e" }));
    }
    for (const one of series) {
      const line = path(one, across, down, isLog);
      parts.push(svg("path", { d: line, fill: "none", stroke: one.colour, "stroke-width": 1.8,
        "stroke-dasharray": one.dash || "none", "stroke-linejoin": "round" }));
      one.x.forEach((x, n) => {
        const y = one.y[n];
        const alone = !isNumber(one.y[n - 1]) && !isNumber(one.y[n + 1]);
        if (isNumber(y) && (!isLog || y > 0) && (one.marks || alone)) {
          parts.push(svg("circle", { cx: across.place(x), cy: down.place(y), r: 2.6, fill: one.colour }));
        }
      });
    }
    const line = svg("line", { class: "cursor", stroke: "#1d2329", y1: EDGE.top, y2: bottom, "stroke-width": 1.2 });
    const dots = series.map((one) => svg("circle", { r: 3.6, fill: one.colour, stroke: "#fff", "stroke-width": 1 }));
    parts.push(line, ...dots);
    figure.mark = () => {
      const { cursor } = figure.options;
      const away = !isNumber(cursor);
      line.setAttribute("visibility", away ? "hidden" : "visible");
      const x = away ? left : across.place(Math.min(right, Math.max(left, cursor)));
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      series.forEach((one, n) => {
        const y = valueOf(one, figure.options);
        const seen = !away && isNumber(y) && (!isLog || y > 0);
        dots[n].setAttribute("visibility", seen ? "visible" : "hidden");
        dots[n].setAttribute("cx", x);
        if (seen) dots[n].setAttribute("cy", down.place(y));
      });
    };
    const picture = figure.querySelector("svg.plot");
    picture.replaceChildren(svg("title", {}, options.title), ...parts);
    figure.inverse = (clientX) => {
      const box = picture.getBoundingClientRect();
      const x = ((clientX - box.left) / box.width) * WIDTH;
      return left + ((x - EDGE.left) / INNER) * (right - left);
    };
    legend(figure, options);
    move(figure, options);
  };

  // Move the cursor of a graph that is drawn: only what depends on it changes.
  const move = (figure, options) => {
    figure.options = { ...options, series: options.series || figure.options.series };
    figure.mark();
    figure.options.series.forEach((one, n) => {
      const value = valueOf(one, figure.options);
      figure.outputs[n].textContent = value === undefined ? "" : viewer.number(value);
    });
    figure.querySelector("svg.plot").setAttribute("aria-label", spoken(figure.options));
  };

  const tick = (x) => {
    const size = Math.abs(x);
    if (x !== 0 && (size >= 1e5 || size < 1e-3)) return viewer.short(x);
    return String(Number(x.toPrecision(6))).replace("-", "−");
  };

  const valueOf = (one, options) => {
    if (options.at) return one.y[options.at(one)];
    return isNumber(options.cursor) ? one.y[one.x.indexOf(options.cursor)] : undefined;
  };

  const spoken = (options) => {
    const values = options.series.map((one) => {
      const value = valueOf(one, options);
      return value === undefined ? one.name : `${one.name} ${viewer.number(value)}`;
    });
    const at = isNumber(options.cursor) ? `, at ${options.x} ${options.cursor}` : "";
    return `${options.title}${at}: ${values.join("; ")}`;
  };

  const legend = (figure, options) => {
    figure.outputs = options.series.map(() => el("output", {}));
    figure.querySelector(".legend").replaceChildren(...options.series.map((one, n) => el("span", {},
      svg("svg", { viewBox: "0 0 28 10", "aria-hidden": "true" },
        svg("line", { x1: 0, x2: 28, y1: 5, y2: 5, stroke: one.colour, "stroke-width": 2.4, "stroke-dasharray": one.dash || "none" })),
      one.name, figure.outputs[n])));
  };

  // A figure for a graph, with its title, a button to save it, and a legend.
  const make = (title, pick) => {
    const picture = svg("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    const figure = el("figure", { class: "graph" },
      el("figcaption", {}, el("span", {}, title),
        el("button", { type: "button", class: "save", "aria-label": `Save ${title} as SVG`,
          onclick: () => viewer.saving.graph(figure) }, "SVG")),
      picture, el("div", { class: "legend" }));
    if (pick) picture.addEventListener("click", (event) => pick(figure.inverse(event.clientX)));
    return figure;
  };

  viewer.plot = { make, draw, move, isNumber, WIDTH, HEIGHT };
})();

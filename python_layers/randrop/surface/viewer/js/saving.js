"use strict";
// Saving panels as PNG and graphs as SVG, with what is needed to understand them alone.

(() => {
  const INK = "#1d2329";
  const SOFT = "#59636e";

  const fileName = (text, ending) =>
    `${text.replace(/[^\p{L}\p{N}.=-]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 100) || "picture"}.${ending}`;

  const offer = (blob, name) => {
    const link = viewer.el("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const offerCanvas = (canvas, name) => new Promise((done) => {
    canvas.toBlob((blob) => { offer(blob, name); done(); }, "image/png");
  });

  const fitted = (context, text, width) => {
    if (context.measureText(text).width <= width) return text;
    let end = text.length;
    while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
    return `${text.slice(0, end)}…`;
  };

  // The visible part of a map, with its title, its colour scale and where it is from.
  const panel = (one) => {
    const { zoom, left, top } = viewer.state.view;
    const parts = [one.width / zoom, one.height / zoom];
    const scale = Math.max(1, Math.ceil(600 / Math.max(one.width, 1)));
    const [width, height] = [one.width * scale, one.height * scale];
    const foot = 62;
    const canvas = viewer.el("canvas", { width: width + 20, height: height + 50 + foot });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(one.canvas, left * one.width, top * one.height, ...parts, 10, 42, width, height);
    context.fillStyle = INK;
    context.font = "600 17px system-ui, sans-serif";
    context.fillText(fitted(context, one.label, width), 10, 26);
    context.font = "14px system-ui, sans-serif";
    context.fillStyle = SOFT;
    const { run } = one;
    const t = viewer.snapshot(run);
    const from = [run.facts.run, run.names[viewer.state.picture],
      one.kind === "picture" ? "" : `iteration ${run.iterations[t]}`,
      one.kind === "picture" || viewer.isSoftmax(run) && one.kind === "loss" ? "" : run.facts.channels[viewer.state.channel]];
    context.fillText(fitted(context, from.filter(Boolean).join(", "), width), 10, height + 42 + foot - 8);
    key(context, one, width, height + 52);
    return offerCanvas(canvas, fileName(`${one.label} ${from.filter(Boolean).join(" ")}`, "png"));
  };

  const key = (context, one, width, y) => {
    const categories = viewer.panels.CATEGORIES[one.kind];
    if (categories) {
      let x = 10;
      categories.names.forEach((name, n) => {
        context.fillStyle = viewer.colour.css(categories.colours[n]);
        context.fillRect(x, y, 13, 13);
        context.fillStyle = INK;
        context.fillText(name, x + 18, y + 12);
        x += 34 + context.measureText(name).width;
      });
    } else if (one.kind !== "picture") {
      const [scale, name] = viewer.panels.styleOf(one);
      const [low, high] = [viewer.short(scale.low), viewer.short(scale.high)];
      const from = Math.ceil(context.measureText(low).width) + 18;
      const to = width - Math.ceil(context.measureText(high).width) + 2;
      for (let x = from; x < to; x += 1) {
        context.fillStyle = viewer.colour.css(viewer.colour.at((x - from) / (to - from), name));
        context.fillRect(x, y, 1, 13);
      }
      context.fillStyle = INK;
      context.fillText(low, 10, y + 12);
      context.fillText(high, to + 8, y + 12);
    }
  };

  // A graph with its title above and its legend below.
  const graph = (figure) => {
    const { WIDTH, HEIGHT } = viewer.plot;
    const { options } = figure;
    const { svg } = viewer;
    const font = { "font-family": "system-ui, sans-serif", "font-size": 11, fill: INK };
    const inner = figure.querySelector("svg.plot").cloneNode(true);
    const bottom = 24 + HEIGHT + 16;
    const whole = svg("svg", {
      xmlns: "http://www.w3.org/2000/svg", width: WIDTH, height: bottom + 16 * options.series.length,
      viewBox: `0 0 ${WIDTH} ${bottom + 16 * options.series.length}`,
    },
    svg("rect", { width: "100%", height: "100%", fill: "#fff" }),
    svg("text", { ...font, x: 10, y: 17, "font-size": 13, "font-weight": 600 }, options.title),
    svg("g", { transform: "translate(0 24)" }, ...inner.childNodes),
    ...options.series.flatMap((one, n) => [
      svg("line", { x1: 10, x2: 38, y1: bottom + 16 * n, y2: bottom + 16 * n, stroke: one.colour,
        "stroke-width": 2.4, "stroke-dasharray": one.dash || "none" }),
      svg("text", { ...font, x: 46, y: bottom + 4 + 16 * n }, one.name),
    ]));
    const text = new XMLSerializer().serializeToString(whole);
    offer(new Blob([text], { type: "image/svg+xml" }), fileName(options.title, "svg"));
  };

  viewer.saving = { panel, graph, offerCanvas, fileName, fitted };
})();

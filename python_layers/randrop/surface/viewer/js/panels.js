"use strict";
// The panels with the maps: what each shows, its colours, and drawing it.

(() => {
  const { el, colour } = viewer;

  const CATEGORIES = {
    truth: { names: ["background", "foreground"], colours: [[28, 34, 44], [240, 228, 66]] },
    outcome: {
      names: ["true negative", "true positive", "false positive", "false negative"],
      colours: [[28, 34, 44], [0, 158, 115], [230, 159, 0], [204, 121, 167]],
    },
    kept: {
      names: ["dropped", "kept, background", "kept, foreground"],
      colours: [[28, 34, 44], [86, 180, 233], [240, 228, 66]],
    },
  };
  const NAMES = {
    picture: "Image",
    truth: "Truth",
    probability: "Prediction",
    confidence: "Confidence in the true class",
    outcome: "Right and wrong at p ≥ 0.5",
  };
  const UNIT = { low: 0, high: 1, kind: "linear" };

  // What is shown, in order, for all runs: { id, kind, spec }.
  const sorts = () => {
    const found = ["picture", "truth", "probability", "confidence", "outcome"]
      .map((kind) => ({ id: kind, kind, title: NAMES[kind] }));
    for (const spec of viewer.losses) {
      found.push({ id: `loss ${spec}`, kind: "loss", spec, title: spec, note: "loss" });
    }
    for (const spec of viewer.losses) {
      const selects = viewer.runs.some((run) => run.selects[run.facts.losses.indexOf(spec)]);
      if (selects) found.push({ id: `kept ${spec}`, kind: "kept", spec, title: spec, note: "pixels kept" });
    }
    return found;
  };

  // The ends of the colour scale of a loss, in all runs.
  const scaleOf = (spec) => {
    const { joint, scale, hidden } = viewer.state;
    const specs = joint ? viewer.losses.filter((s) => s === spec || !hidden.has(`loss ${s}`)) : [spec];
    let [low, high] = [Infinity, 0];
    for (const run of viewer.runs) {
      run.facts.losses.forEach((s, k) => {
        if (!specs.includes(s)) return;
        low = Math.min(low, run.ranges[k][0]);
        high = Math.max(high, run.ranges[k][1]);
      });
    }
    // Five decades: the colours of more could not be told apart.
    low = Math.max(low, high / 1e5);
    return scale === "log" ? { low, high, kind: "log" } : { low: 0, high, kind: "linear" };
  };

  // One scale for all shows nothing of losses whose normalisations differ by far.
  const alike = () => {
    const highs = viewer.runs.flatMap((run) => run.ranges.map((ends) => ends[1]));
    return Math.max(...highs) <= 1000 * Math.min(...highs);
  };

  const panels = [];

  const makePanel = (sort, run) => {
    const k = sort.spec === undefined ? -1 : run.facts.losses.indexOf(sort.spec);
    const absent = sort.spec !== undefined && (k < 0 || (sort.kind === "kept" && !run.selects[k]));
    const both = viewer.runs.length > 1;
    if (absent) return el("div", { class: "absent" }, `${viewer.runName(run)}: ${sort.title} was not recorded`);
    const [height, width] = run.facts.size;
    const canvas = el("canvas", { width, height });
    const reading = el("div", { class: "reading" });
    const below = el("div", {});
    const view = el("div", {
      class: "view", tabindex: 0, role: "img",
      style: `aspect-ratio: ${width} / ${height}; --pixel-width: ${100 / width}; --pixel-height: ${100 / height}`,
    }, canvas, el("div", { class: "mark" }));
    const panel = { ...sort, k, run, canvas, view, reading, below, height, width };
    const trained = sort.kind === "loss" && k === 0 ? "of the training" : null;
    const over = sort.kind === "loss" && run.sums[k] ? "/ pixels" : null;
    const note = [[sort.note, trained, over].filter(Boolean).join(" "), both ? viewer.runName(run) : null]
      .filter(Boolean).join(" · ");
    panel.label = [sort.title, note].filter(Boolean).join(", ");
    panel.context = canvas.getContext("2d", { alpha: false });
    if (sort.kind !== "picture") {
      panel.image = panel.context.createImageData(width, height);
      panel.pixels = new Uint32Array(panel.image.data.buffer);
    }
    panel.figure = el("figure", { class: "panel" },
      el("figcaption", {},
        el("b", {}, sort.title, note ? el("small", {}, note) : null),
        el("button", { type: "button", class: "save", "aria-label": `Save ${panel.label} as PNG`,
          onclick: () => viewer.saving.panel(panel) }, "PNG")),
      view, reading, below);
    panels.push(panel);
    return panel.figure;
  };

  const build = () => {
    const place = document.getElementById("panels");
    place.classList.toggle("two", viewer.runs.length > 1);
    const checks = document.querySelector("#chooser .checks");
    for (const sort of sorts()) {
      const made = viewer.runs.map((run) => makePanel(sort, run));
      const whole = made.length > 1 ? el("div", { class: "pair" }, made) : made[0];
      place.append(whole);
      const text = [sort.title, sort.note].filter(Boolean).join(" · ");
      checks.append(el("label", {}, el("input", {
        type: "checkbox", checked: true,
        onchange: (event) => {
          const hidden = new Set(viewer.state.hidden);
          if (event.target.checked) hidden.delete(sort.id);
          else hidden.add(sort.id);
          whole.hidden = !event.target.checked;
          viewer.set({ hidden });
        },
      }), ` ${text}`));
    }
  };

  const shown = () => panels.filter((panel) => !viewer.state.hidden.has(panel.id));

  // The scale and the name of the colour map of a panel with values.
  const styleOf = (panel) => {
    if (panel.kind === "loss") return [scaleOf(panel.spec), "sequential"];
    return [UNIT, panel.kind === "confidence" ? "confidence" : "sequential"];
  };

  const drawMap = (panel, maps) => {
    const map = viewer.maps.ofPanel(panel, maps, viewer.state.channel);
    const categories = CATEGORIES[panel.kind];
    const style = categories ? [] : styleOf(panel);
    const colours = colour.cached(map.values, JSON.stringify(style), () => (categories
      ? colour.ofCategories(map.values, categories.colours)
      : colour.ofValues(map.values, ...style)));
    const { pixels } = panel;
    const { keys } = map;
    for (let i = 0; i < pixels.length; i += 1) pixels[i] = colours[keys[i]];
    panel.context.putImageData(panel.image, 0, 0);
    panel.map = map;
  };

  const drawPicture = async (panel) => {
    const { run } = panel;
    const source = run.pictures[viewer.state.picture];
    if (panel.source === source) return;
    panel.source = source;
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    if (panel.source === source) panel.context.drawImage(picture, 0, 0);
  };

  // Draw all panels for the state; wait for maps that are not unpacked yet.
  let latest = 0;
  const draw = async () => {
    latest += 1;
    const mine = latest;
    const i = viewer.state.picture;
    const needed = viewer.runs.map((run) => viewer.maps.ready(run, viewer.snapshot(run), i)
      || viewer.maps.load(run, viewer.snapshot(run), i));
    const waits = needed.some((maps) => maps instanceof Promise);
    const all = waits ? await Promise.all(needed) : needed;
    if (mine !== latest) return false;
    const pictures = [];
    for (const panel of shown()) {
      if (panel.kind === "picture") pictures.push(drawPicture(panel));
      else drawMap(panel, all[viewer.runs.indexOf(panel.run)]);
    }
    read();
    await Promise.all(pictures);
    return true;
  };

  // What a panel says of a pixel.
  const valueOf = (panel, row, column) => {
    if (!panel.map) return null;
    return panel.map.values[panel.map.keys[row * panel.width + column]];
  };

  const wordsOf = (panel, row, column) => {
    const value = valueOf(panel, row, column);
    if (value === null) return "";
    const categories = CATEGORIES[panel.kind];
    if (categories) return value === 255 ? "ignored" : categories.names[value];
    if (Number.isNaN(value)) return "ignored, or not a number";
    return viewer.number(value);
  };

  // Show the values of the marked pixel below each panel.
  const read = () => {
    const { pixel } = viewer.state;
    document.getElementById("panels").classList.toggle("pointed", pixel !== null);
    for (const panel of shown()) {
      const words = pixel ? wordsOf(panel, ...pixel) : "";
      if (panel.words !== words) {
        panel.words = words;
        panel.reading.replaceChildren(words ? el("b", {}, words) : "");
      }
    }
  };

  // The bars and legends below the panels, and their spoken names.
  const explain = () => {
    for (const panel of panels) {
      const categories = CATEGORIES[panel.kind];
      panel.view.setAttribute("aria-label", `${panel.label}. Arrow keys move the marked pixel.`);
      if (panel.kind === "picture") continue;
      if (categories) {
        panel.below.replaceChildren(el("div", { class: "legend" }, categories.names.map((text, n) =>
          el("span", {}, el("i", { style: `background: ${colour.css(categories.colours[n])}` }), text))));
      } else {
        const [scale, name] = styleOf(panel);
        panel.below.replaceChildren(el("div", { class: "bar" }, viewer.short(scale.low),
          el("i", { style: `background: ${colour.gradient(name)}` }), viewer.short(scale.high)));
      }
    }
  };

  viewer.panels = { alike, list: panels, CATEGORIES, build, draw, read, explain, shown, styleOf, valueOf, wordsOf };
})();

"use strict";
// What the other scripts share: the page's content and state, and small tools.

const viewer = {};

(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  viewer.content = content;
  viewer.runs = content.runs;

  // All iterations that any run has, ascending: the positions of the slider.
  viewer.iterations = [...new Set(viewer.runs.flatMap((run) => run.iterations))]
    .sort((a, b) => a - b);

  viewer.state = {
    step: Math.max(0, viewer.iterations.length - 1), // Position of the slider.
    picture: 0,
    channel: 0,
    joint: true, // One colour scale for all losses.
    scale: "log",
    hidden: new Set(), // Names of the maps that are not shown.
    pixel: null, // [row, column]
    view: { zoom: 1, left: 0, top: 0 }, // left, top: share of the picture.
  };

  const listeners = [];

  // Call f after any of the named parts of the state has changed.
  viewer.on = (names, f) => listeners.push([names.split(" "), f]);

  viewer.set = (changes) => {
    const state = viewer.state;
    const changed = Object.keys(changes).filter((name) => state[name] !== changes[name]);
    Object.assign(state, changes);
    for (const [names, f] of listeners) {
      if (names.some((name) => changed.includes(name))) f(changed);
    }
  };

  viewer.iteration = () => viewer.iterations[viewer.state.step];

  // The snapshot that a run shows: the last one up to the slider's iteration.
  viewer.snapshot = (run) => {
    const now = viewer.iteration();
    let t = 0;
    while (t + 1 < run.iterations.length && run.iterations[t + 1] <= now) t += 1;
    return t;
  };

  // Move the slider to the position nearest to an iteration.
  viewer.jump = (iteration) => {
    let best = 0;
    viewer.iterations.forEach((x, n) => {
      if (Math.abs(x - iteration) < Math.abs(viewer.iterations[best] - iteration)) best = n;
    });
    viewer.set({ step: best });
  };

  viewer.isSoftmax = (run) => run.facts.activation === "softmax";

  // The losses of all runs, by their command-line names, without repeats.
  viewer.losses = [...new Set(viewer.runs.flatMap((run) => run.facts.losses))];

  viewer.runName = (run) => {
    const same = viewer.runs.filter((other) => other.facts.run === run.facts.run);
    return same.length > 1 ? `${run.facts.run} (${run.file})` : run.facts.run;
  };

  // A number for people: four digits, "–" if there is none.
  viewer.number = (x) => {
    if (x === null || x === undefined || Number.isNaN(x)) return "–";
    if (x === 0) return "0";
    const size = Math.abs(x);
    if (size >= 1e5 || size < 1e-3) return x.toExponential(2).replace("-", "−").replace("+", "");
    return String(Number(x.toPrecision(4))).replace("-", "−");
  };

  viewer.short = (x) => {
    if (x === 0) return "0";
    const size = Math.abs(x);
    if (size >= 1e4 || size < 1e-2) return x.toExponential(1).replace(/\.0e/, "e").replace("-", "−").replace("+", "");
    return String(Number(x.toPrecision(2))).replace("-", "−");
  };

  // Make an element. Text never becomes markup.
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null) node.setAttribute(name, value);
    }
    node.append(...children.flat().filter((child) => child !== null));
    return node;
  };
  viewer.el = (tag, attributes, ...children) =>
    fill(document.createElement(tag), attributes, children);
  viewer.svg = (tag, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  viewer.complain = (text) => {
    const place = document.getElementById("problem");
    place.textContent = text;
    place.hidden = false;
  };
})();

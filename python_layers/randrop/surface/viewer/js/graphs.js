"use strict";
// The graphs of the measures through the training, and the reliability curve.

(() => {
  const { plot } = viewer;
  const COLOURS = viewer.content.palette;
  const SUBSETS = ["training", "validation"];
  const MEASURES = [
    ["average_precision", "Average precision", true],
    ["iou", "IoU (soft)", true],
    ["confidence_foreground", "Confidence on the foreground", true],
    ["confidence_background", "Confidence on the background", false],
    ["accuracy", "Accuracy at p ≥ 0.5", false],
    ["ece", "Calibration error (ECE)", false],
  ];

  const dashes = ["none", "6 3", "2 3"];
  const several = () => viewer.runs.length > 1;

  const inChannel = (run, t, subset) => {
    const name = run.facts.channels[viewer.state.channel];
    const of = run.measures[t][subset];
    return (of && of.channels && of.channels[name]) || {};
  };

  const measured = (name) => viewer.runs.flatMap((run, r) => SUBSETS.map((subset, s) => ({
    name: several() ? `${viewer.runName(run)}, ${subset}` : subset,
    run,
    x: run.iterations,
    y: run.iterations.map((_, t) => {
      const value = inChannel(run, t, subset)[name];
      return value === undefined ? null : value;
    }),
    colour: COLOURS[several() ? r : s],
    dash: dashes[s],
    marks: run.iterations.length < 40,
  })));

  const lossSeries = (subset) => viewer.runs.flatMap((run, r) => run.facts.losses
    .filter((spec) => !viewer.state.hidden.has(`loss ${spec}`))
    .map((spec) => ({
      name: several() ? `${spec}, ${viewer.runName(run)}` : spec,
      run,
      x: run.iterations,
      y: run.measures.map((m) => {
        const value = m[subset] && m[subset].loss ? m[subset].loss[spec] : null;
        return value === undefined ? null : value;
      }),
      colour: COLOURS[viewer.losses.indexOf(spec) % COLOURS.length],
      dash: dashes[r],
      marks: run.iterations.length < 40,
    })));

  const reliability = () => viewer.runs.flatMap((run, r) => SUBSETS.map((subset, s) => {
    const curve = inChannel(run, viewer.snapshot(run), subset).reliability;
    return {
      name: several() ? `${viewer.runName(run)}, ${subset}` : subset,
      x: curve ? curve.confidence.filter(plot.isNumber) : [],
      y: curve ? curve.frequency.filter((_, n) => plot.isNumber(curve.confidence[n])) : [],
      colour: COLOURS[several() ? r : s],
      dash: dashes[s],
      marks: true,
    };
  }));

  const figures = [];

  const build = () => {
    const place = document.getElementById("graphs");
    const add = (title, series, options, pick = viewer.jump) => {
      const figure = plot.make(title, pick);
      place.append(figure);
      figures.push({ figure, series, options: { title, ...options } });
    };
    const time = { x: "iteration", cursor: true };
    for (const subset of SUBSETS) {
      add(`Losses on the ${subset} images`, () => lossSeries(subset), { ...time, y: "loss", log: true });
    }
    for (const [name, title, whole] of MEASURES) {
      add(title, () => measured(name), { ...time, y: "", range: whole ? [0, 1] : undefined });
    }
    add("Reliability at the shown iteration", reliability,
      { x: "mean probability in a bin", y: "share of foreground", range: [0, 1], domain: [0, 1], diagonal: true }, null);
  };

  const domain = () => {
    const all = viewer.iterations;
    return all.length > 1 ? [all[0], all[all.length - 1]] : undefined;
  };

  const draw = (changed = []) => {
    const onlyStep = changed.length === 1 && changed[0] === "step";
    for (const { figure, series, options } of figures) {
      const more = options.cursor ? {
        cursor: viewer.iteration(), domain: domain(), at: (one) => viewer.snapshot(one.run),
      } : {};
      if (onlyStep && options.cursor) plot.move(figure, { ...options, ...more });
      else plot.draw(figure, { ...options, ...more, series: series() });
    }
  };

  viewer.graphs = { build, draw };
})();

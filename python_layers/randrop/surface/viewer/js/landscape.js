"use strict";
// The landscapes: contour, surface, and the graphs of the path of the training.

(() => {
  const { el, contour, plot } = viewer;
  const COLOURS = viewer.content.palette;

  const select = (label, options, change) => {
    const box = el("select", { onchange: (event) => change(event.target.value) },
      options.map(([value, text]) => el("option", { value }, text)));
    return el("label", {}, `${label} `, box);
  };

  // Whatever the page says of a landscape in words.
  const facts = (land) => {
    const f = land.facts;
    const rows = [
      ["run", f.run],
      ["around", f.center],
      ["directions", { random: "random, filter-normalised", pca: "first two principal components of the snapshots",
        between: "from one model to the other" }[f.directions] || f.directions],
      ["images", f.images],
      ["batch normalisation", { kept: "statistics kept", recomputed: "statistics recomputed at each point",
        none: "the network has none" }[f.batch_norm] || f.batch_norm],
      ["seed", f.seed],
    ];
    if (f.explained_variance) {
      const [a, b] = f.explained_variance.map((x) => `${(100 * x).toFixed(1)} %`);
      rows.push(["variance of the path", `${a} along α, ${b} along β`]);
    }
    const missing = [[land.holes, "failed"], [land.left, "not computed yet"]].filter(([n]) => n);
    if (missing.length) rows.push(["missing points", missing.map((m) => m.join(" ")).join(", ")]);
    if (land.hessian) {
      const { eigenvalues, residuals } = land.hessian;
      rows.push([`Hessian of ${land.hessian.loss}`, eigenvalues.map((x, n) =>
        `${viewer.number(x)} (residual ${viewer.number(residuals[n])})`).join(", ")]);
    }
    return el("dl", {}, rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, `${value}`)]));
  };

  // The snapshot of the path that belongs to the slider's iteration.
  const shownOf = (land) => {
    if (!land.trajectory || !viewer.iterations.length) return -1;
    const now = viewer.iteration();
    return land.trajectory.iteration.reduce((best, x, n) => (x <= now ? n : best), -1);
  };

  const line = (land, place) => {
    const figure = plot.make("Loss along the line", null);
    const precise = plot.make("Average precision along the line", null);
    place.append(el("div", { class: "scapes" }, figure, precise));
    const series = land.facts.losses.map((name, k) => ({
      name, x: land.alpha, y: land.heights[k][0], colour: COLOURS[k % COLOURS.length],
      dash: ["none", "6 3", "2 3"][Math.floor(k / COLOURS.length)] || "none",
    }));
    const log = series.every((one) => one.y.every((y) => y === null || y > 0));
    plot.draw(figure, { title: "Loss along the line", x: "α", y: "loss", log, series });
    plot.draw(precise, { title: "Average precision along the line", x: "α", y: "", range: [0, 1],
      series: [{ name: "mean over the channels", x: land.alpha, y: land.average_precision[0], colour: COLOURS[0] }] });
  };

  const plane = (land, place) => {
    const mine = { k: 0, shade: "height", log: true, angles: { turn: 0.65, tilt: 0.8 }, marked: null };
    const top = el("canvas", { tabindex: 0, role: "img" });
    const solid = el("canvas", { tabindex: 0, role: "img", class: "turns" });
    const reading = el("p", { class: "reading", role: "status", "aria-live": "polite" });
    const hint = el("p", { class: "reading soft" }, "Drag or use the arrow keys to turn it.");
    const name = () => land.facts.losses[mine.k];
    const save = (canvas, what) => el("button", { type: "button", class: "save", "aria-label": `Save ${what} as PNG`,
      onclick: () => viewer.saving.offerCanvas(canvas, viewer.saving.fileName(`${what} ${name()} ${land.facts.run}`, "png")) }, "PNG");

    const settings = () => {
      const height = land.heights[mine.k];
      const heightScale = contour.scaleOf(height, mine.log);
      const byPrecision = mine.shade === "precision";
      return {
        height, heightScale, shown: shownOf(land), marked: mine.marked, angles: mine.angles,
        shade: byPrecision ? land.average_precision : height,
        shadeScale: byPrecision ? { low: 0, high: 1, kind: "linear" } : heightScale,
        name: byPrecision ? "confidence" : "sequential",
      };
    };
    // Made anew only when the choices or the angles change.
    let flat = null;
    let turned = null;
    const drawTop = () => {
      flat = flat || contour.base(land, settings());
      contour.draw(top, land, flat, settings());
    };
    const drawSolid = () => {
      turned = turned || viewer.surface3d.base(land, settings());
      viewer.surface3d.draw(solid, turned, settings());
    };
    const draw = () => {
      drawTop();
      drawSolid();
      top.setAttribute("aria-label", `Contours of ${name()} over the plane. Arrow keys move the marked point.`);
      solid.setAttribute("aria-label", `Surface of ${name()} over the plane. Arrow keys turn it.`);
      read();
    };
    const read = () => {
      if (!mine.marked) { reading.textContent = "Point at the plane to read its points; click on the path to jump to a snapshot."; return; }
      const [r, c] = mine.marked;
      const values = land.facts.losses.map((loss, k) => `${loss} ${viewer.number(land.heights[k][r][c])}`);
      values.push(`average precision ${viewer.number(land.average_precision[r][c])}`);
      reading.textContent = `α ${viewer.number(land.alpha[c])}, β ${viewer.number(land.beta[r])}: ${values.join("; ")}`;
    };
    const change = (part) => {
      Object.assign(mine, part);
      [flat, turned] = [null, null];
      draw();
    };
    const mark = (point) => {
      mine.marked = point;
      drawTop();
      read();
    };

    top.addEventListener("pointermove", (event) => {
      const { point } = contour.nearest(top, land, event.clientX, event.clientY);
      if (!mine.marked || point.some((x, n) => x !== mine.marked[n])) {
        mark(point);
      }
    });
    top.addEventListener("click", (event) => {
      const { snapshot } = contour.nearest(top, land, event.clientX, event.clientY);
      if (snapshot !== null && viewer.iterations.length) viewer.jump(land.trajectory.iteration[snapshot]);
    });
    const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
    top.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      const [r, c] = mine.marked || [land.beta.length >> 1, land.alpha.length >> 1];
      const inside = (x, count) => Math.min(count - 1, Math.max(0, x));
      mark([inside(r + step[0], land.beta.length), inside(c + step[1], land.alpha.length)]);
    });
    const turn = (dx, dy) => {
      mine.angles = { turn: mine.angles.turn + dx, tilt: Math.min(1.5, Math.max(0.05, mine.angles.tilt + dy)) };
      turned = null;
      drawSolid();
    };
    solid.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      turn(0.1 * step[1], 0.1 * step[0]);
    });
    solid.addEventListener("pointerdown", (event) => solid.setPointerCapture(event.pointerId));
    solid.addEventListener("pointermove", (event) => {
      if (solid.hasPointerCapture(event.pointerId)) turn(event.movementX * 0.008, event.movementY * 0.008);
    });

    place.append(
      el("div", { class: "choices" },
        select("Height", land.facts.losses.map((loss, k) => [k, loss]), (value) => change({ k: Number(value) })),
        select("Colour", [["height", "the height"], ["precision", "average precision"]], (shade) => change({ shade })),
        select("Scale", [["log", "logarithmic"], ["linear", "linear"]], (value) => change({ log: value === "log" }))),
      el("div", { class: "scapes" },
        el("figure", { class: "scape" }, el("figcaption", {}, el("span", {}, "From above"), save(top, "contours")), top, reading),
        el("figure", { class: "scape" }, el("figcaption", {}, el("span", {}, "Surface"), save(solid, "surface")), solid, hint),
        land.trajectory ? [pathGraph(land, mine), distanceGraph(land)] : []));
    viewer.on("step", draw);
    draw();
    place.querySelector("select").addEventListener("change", () => mine.pathChanged && mine.pathChanged());
  };

  const cursorOf = (land) => {
    const n = shownOf(land);
    return n < 0 ? {} : { cursor: land.trajectory.iteration[n] };
  };

  // Why a snapshot does not lie on the surface: its own loss, and that of its projection.
  const pathGraph = (land, mine) => {
    const title = "Loss of the snapshots, and of their projections";
    const figure = plot.make(title, viewer.iterations.length ? viewer.jump : null);
    const { iteration, loss, plane_loss: projected } = land.trajectory;
    const draw = () => plot.draw(figure, {
      title, x: "iteration", y: land.facts.losses[mine.k], ...cursorOf(land),
      log: [...loss[mine.k], ...projected[mine.k]].every((y) => y === null || y > 0),
      series: [
        { name: "the snapshot", x: iteration, y: loss[mine.k], colour: COLOURS[0], marks: true },
        { name: "its projection into the plane", x: iteration, y: projected[mine.k], colour: COLOURS[1], dash: "6 3", marks: true },
      ],
    });
    viewer.on("step", draw);
    mine.pathChanged = draw;
    draw();
    return figure;
  };

  const distanceGraph = (land) => {
    const title = "Distance of the snapshots from the plane";
    const figure = plot.make(title, viewer.iterations.length ? viewer.jump : null);
    const { iteration, relative_distance: y } = land.trajectory;
    const options = {
      title, x: "iteration", y: "relative distance",
      series: [{ name: "distance from the plane, divided by the distance from the centre", x: iteration, y, colour: COLOURS[2], marks: true }],
    };
    plot.draw(figure, { ...options, ...cursorOf(land) });
    viewer.on("step", () => plot.move(figure, { ...options, ...cursorOf(land) }));
    return figure;
  };

  const build = () => {
    const place = document.getElementById("landscapes");
    for (const land of viewer.content.landscapes) {
      const own = el("section", { class: "land", "aria-label": `Landscape ${land.file}` },
        el("h3", {}, `${land.facts.run}: ${land.file}`));
      place.append(own);
      (land.beta.length > 1 && land.alpha.length > 1 ? plane : line)(land, own);
      own.append(facts(land));
    }
  };

  viewer.landscape = { build };
})();

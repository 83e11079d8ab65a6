"use strict";
// A plane of weights from above: colours, contour lines and the path of the training.

(() => {
  const [WIDTH, HEIGHT] = [960, 720];
  const EDGE = { left: 78, right: 110, top: 16, bottom: 58 };
  const INNER = WIDTH - EDGE.left - EDGE.right;
  const DEPTH = HEIGHT - EDGE.top - EDGE.bottom;
  const LEVELS = 12;
  const INK = "#1d2329";

  const isNumber = (x) => x !== null && x !== undefined && Number.isFinite(x);

  // The scale of a grid of numbers: logarithmic if all are above 0 and it is asked for.
  const scaleOf = (grid, log) => {
    const good = grid.flat().filter(isNumber);
    let low = good.reduce((a, b) => Math.min(a, b), Infinity);
    let high = good.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!good.length) [low, high] = [0, 1];
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    return { low, high, kind: log && low > 0 ? "log" : "linear" };
  };

  // Place in an ascending array: index and fraction, for interpolation.
  const within = (values, x) => {
    let n = 0;
    while (n + 2 < values.length && values[n + 1] < x) n += 1;
    return [n, (x - values[n]) / (values[n + 1] - values[n])];
  };

  // Bilinear; null where a corner is a hole.
  const between = (grid, [column, u], [row, v]) => {
    const [a, b] = [grid[row][column], grid[row][column + 1]];
    const [c, d] = [grid[row + 1][column], grid[row + 1][column + 1]];
    if (![a, b, c, d].every(isNumber)) return null;
    return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d);
  };

  const placing = (land) => {
    const [a0, a1] = [land.alpha[0], land.alpha[land.alpha.length - 1]];
    const [b0, b1] = [land.beta[0], land.beta[land.beta.length - 1]];
    return {
      x: (alpha) => EDGE.left + ((alpha - a0) / (a1 - a0)) * INNER,
      y: (beta) => EDGE.top + DEPTH - ((beta - b0) / (b1 - b0)) * DEPTH,
      alpha: (x) => a0 + ((x - EDGE.left) / INNER) * (a1 - a0),
      beta: (y) => b0 + ((EDGE.top + DEPTH - y) / DEPTH) * (b1 - b0),
    };
  };

  const fill = (context, land, grid, scale, name) => {
    const image = context.createImageData(INNER, DEPTH);
    const colours = new Uint32Array(image.data.buffer);
    const place = placing(land);
    const across = Array.from({ length: INNER }, (_, x) => within(land.alpha, place.alpha(EDGE.left + x + 0.5)));
    const values = new Float64Array(INNER * DEPTH).fill(NaN);
    for (let y = 0; y < DEPTH; y += 1) {
      const down = within(land.beta, place.beta(EDGE.top + y + 0.5));
      for (let x = 0; x < INNER; x += 1) {
        const value = between(grid, across[x], down);
        if (value !== null) values[y * INNER + x] = value;
      }
    }
    colours.set(viewer.colour.ofValues(values, scale, name));
    context.putImageData(image, EDGE.left, EDGE.top);
  };

  const levels = (scale) => Array.from({ length: LEVELS },
    (_, n) => viewer.colour.valueAt((n + 0.5) / LEVELS, scale));

  // Marching squares: the pieces of the line at a level, as [x0, y0, x1, y1].
  const pieces = (land, grid, level) => {
    const found = [];
    const cut = (a, b) => (level - a) / (b - a);
    for (let row = 0; row + 1 < grid.length; row += 1) {
      for (let column = 0; column + 1 < grid[0].length; column += 1) {
        const [a, b] = [grid[row][column], grid[row][column + 1]];
        const [c, d] = [grid[row + 1][column], grid[row + 1][column + 1]];
        if (![a, b, c, d].every(isNumber)) continue;
        const [x0, x1] = [land.alpha[column], land.alpha[column + 1]];
        const [y0, y1] = [land.beta[row], land.beta[row + 1]];
        const points = [];
        if ((a < level) !== (b < level)) points.push([x0 + cut(a, b) * (x1 - x0), y0]);
        if ((b < level) !== (d < level)) points.push([x1, y0 + cut(b, d) * (y1 - y0)]);
        if ((c < level) !== (d < level)) points.push([x0 + cut(c, d) * (x1 - x0), y1]);
        if ((a < level) !== (c < level)) points.push([x0, y0 + cut(a, c) * (y1 - y0)]);
        for (let n = 0; n + 1 < points.length; n += 2) found.push([...points[n], ...points[n + 1]]);
      }
    }
    return found;
  };

  const axes = (context, land) => {
    const place = placing(land);
    context.strokeStyle = INK;
    context.fillStyle = INK;
    context.lineWidth = 1;
    context.strokeRect(EDGE.left - 0.5, EDGE.top - 0.5, INNER + 1, DEPTH + 1);
    context.font = "19px system-ui, sans-serif";
    context.textAlign = "center";
    const ends = (values) => [values[0], (values[0] + values[values.length - 1]) / 2, values[values.length - 1]];
    for (const x of ends(land.alpha)) context.fillText(viewer.number(Number(x.toPrecision(3))), place.x(x), HEIGHT - 34);
    context.fillText("α", EDGE.left + INNER / 2, HEIGHT - 8);
    context.textAlign = "right";
    for (const y of ends(land.beta)) context.fillText(viewer.number(Number(y.toPrecision(3))), EDGE.left - 8, place.y(y) + 7);
    context.textAlign = "center";
    context.fillText("β", 14, EDGE.top + DEPTH / 2 - 30);
  };

  const bar = (context, scale, name) => {
    const x = WIDTH - EDGE.right + 16;
    for (let y = 0; y < DEPTH; y += 1) {
      context.fillStyle = viewer.colour.css(viewer.colour.at(1 - y / DEPTH, name));
      context.fillRect(x, EDGE.top + y, 18, 1);
    }
    context.fillStyle = INK;
    context.textAlign = "left";
    context.font = "17px system-ui, sans-serif";
    for (let n = 0; n <= 4; n += 1) {
      context.fillText(viewer.short(viewer.colour.valueAt(n / 4, scale)), x + 23, EDGE.top + DEPTH * (1 - n / 4) + (n === 4 ? 12 : n ? 6 : 0));
    }
  };

  const track = (context, land, shown) => {
    const path = land.trajectory;
    if (!path) return;
    const place = placing(land);
    const points = path.alpha.map((alpha, n) => [place.x(alpha), place.y(path.beta[n])]);
    context.save();
    context.beginPath();
    context.rect(EDGE.left, EDGE.top, INNER, DEPTH);
    context.clip();
    for (const [colour, width] of [["#000", 5], ["#fff", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      points.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
    for (const point of points) dot(context, point, false);
    if (points[shown]) dot(context, points[shown], true);
    context.restore();
  };

  // A snapshot of the path; the shown one is larger.
  const dot = (context, [x, y], large) => {
    context.beginPath();
    context.arc(x, y, large ? 10 : 4.5, 0, 7);
    context.fillStyle = large ? "#d55e00" : "#fff";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = large ? "#fff" : "#000";
    context.stroke();
  };

  // All but what moves. height: what the lines are of; shade: what the colours are of,
  // with the name of a colour map.
  const base = (land, { height, heightScale, shade, shadeScale, name }) => {
    const canvas = viewer.el("canvas", { width: WIDTH, height: HEIGHT });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, WIDTH, HEIGHT);
    fill(context, land, shade, shadeScale, name);
    const place = placing(land);
    for (const level of levels(heightScale)) {
      for (const [colour, width] of [["#ffffff88", 2.4], ["#1d2329", 0.9]]) {
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.beginPath();
        for (const [x0, y0, x1, y1] of pieces(land, height, level)) {
          context.moveTo(place.x(x0), place.y(y0));
          context.lineTo(place.x(x1), place.y(y1));
        }
        context.stroke();
      }
    }
    axes(context, land);
    bar(context, shadeScale, name);
    return canvas;
  };

  // Draw a base, and on it the path with its shown snapshot, and the marked point.
  const draw = (canvas, land, below, { shown, marked }) => {
    canvas.width = WIDTH;
    canvas.height = HEIGHT;
    const context = canvas.getContext("2d");
    context.drawImage(below, 0, 0);
    const place = placing(land);
    track(context, land, shown);
    if (marked) {
      const [x, y] = [place.x(land.alpha[marked[1]]), place.y(land.beta[marked[0]])];
      for (const [colour, width] of [["#000", 5], ["#fff", 2]]) {
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.strokeRect(x - 8, y - 8, 16, 16);
      }
    }
  };

  // The grid's nearest point, [row, column], and the path's, to a place on the screen.
  const nearest = (canvas, land, clientX, clientY) => {
    const box = canvas.getBoundingClientRect();
    const x = ((clientX - box.left) / box.width) * WIDTH;
    const y = ((clientY - box.top) / box.height) * HEIGHT;
    const place = placing(land);
    const closest = (values, v) => values.reduce((best, value, n) =>
      (Math.abs(value - v) < Math.abs(values[best] - v) ? n : best), 0);
    let snapshot = null;
    if (land.trajectory) {
      const far = land.trajectory.alpha.map((alpha, n) =>
        Math.hypot(place.x(alpha) - x, place.y(land.trajectory.beta[n]) - y));
      const n = far.indexOf(Math.min(...far));
      if (far[n] < 25) snapshot = n;
    }
    return { point: [closest(land.beta, place.beta(y)), closest(land.alpha, place.alpha(x))], snapshot };
  };

  viewer.contour = { base, draw, dot, nearest, scaleOf, within, between, pieces, isNumber };
})();

"use strict";
// A plane of weights as a surface: quadrilaterals, painted from the back to the front.

(() => {
  const [WIDTH, HEIGHT] = [960, 720];
  const TALL = 0.75; // Height of the surface, in units of the side of its base.
  const { isNumber, within, between, dot } = viewer.contour;

  // To the screen: turn by `turn` about the vertical, then tilt towards the viewer.
  const projection = ({ turn, tilt }) => {
    const [c, s, ct, st] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    const size = 0.45 * WIDTH;
    return (x, y, z) => {
      const [u, v] = [c * x - s * y, s * x + c * y];
      return [WIDTH / 2 + size * u, HEIGHT * 0.48 - size * (z * ct + v * st), v * ct - z * st];
    };
  };

  const unit = (values, x) => (x - values[0]) / (values[values.length - 1] - values[0]) - 0.5;

  // All but the shown snapshot: { canvas, points }, the path's points on it.
  const base = (land, { height, heightScale, shade, shadeScale, name, angles }) => {
    const canvas = viewer.el("canvas", { width: WIDTH, height: HEIGHT });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, WIDTH, HEIGHT);
    const project = projection(angles);
    const up = (value) => TALL * (viewer.colour.position(value, heightScale) - 0.5);
    const points = height.map((row, r) => row.map((value, c) => (isNumber(value)
      ? project(unit(land.alpha, land.alpha[c]), unit(land.beta, land.beta[r]), up(value)) : null)));
    floor(context, project);
    const items = [];
    for (let r = 0; r + 1 < height.length; r += 1) {
      for (let c = 0; c + 1 < height[0].length; c += 1) {
        const corners = [points[r][c], points[r][c + 1], points[r + 1][c + 1], points[r + 1][c]];
        if (corners.some((corner) => corner === null)) continue;
        const values = [shade[r][c], shade[r][c + 1], shade[r + 1][c + 1], shade[r + 1][c]];
        const mean = values.every(isNumber) ? values.reduce((a, b) => a + b) / 4 : NaN;
        const depth = corners.reduce((sum, corner) => sum + corner[2], 0) / 4;
        const slope = up(height[r][c]) - up(height[r + 1][c + 1]);
        items.push({ depth, paint: () => quad(context, corners, colourOf(mean, shadeScale, name, slope)) });
      }
    }
    const path = track(land, height, project, up);
    // A little in front of the surface on which it lies.
    for (const { depth, paint } of pieces(path)) {
      items.push({ depth: depth - 0.03, paint: () => paint(context) });
    }
    items.sort((a, b) => b.depth - a.depth);
    for (const item of items) item.paint();
    labels(context, land, project);
    return { canvas, points: path };
  };

  // Draw a base, and on it the shown snapshot, even where the surface hides it.
  const draw = (canvas, below, { shown }) => {
    canvas.width = WIDTH;
    canvas.height = HEIGHT;
    const context = canvas.getContext("2d");
    context.drawImage(below.canvas, 0, 0);
    if (below.points[shown]) dot(context, below.points[shown], true);
  };

  const colourOf = (value, scale, name, slope) => {
    const triple = Number.isNaN(value) ? viewer.colour.NONE
      : viewer.colour.at(viewer.colour.position(value, scale), name);
    const light = Math.min(1.12, Math.max(0.75, 1 + 1.5 * slope));
    return viewer.colour.css(triple.map((x) => Math.round(Math.min(255, x * light))));
  };

  const quad = (context, corners, colour) => {
    context.beginPath();
    corners.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.fillStyle = colour;
    context.strokeStyle = colour;
    context.lineWidth = 0.8;
    context.fill();
    context.stroke();
    context.strokeStyle = "#00000026";
    context.lineWidth = 0.6;
    context.stroke();
  };

  const floor = (context, project) => {
    const z = -TALL / 2;
    context.strokeStyle = "#9aa5b1";
    context.lineWidth = 1;
    context.beginPath();
    for (let n = 0; n <= 4; n += 1) {
      const at = n / 4 - 0.5;
      for (const [from, to] of [[[at, -0.5], [at, 0.5]], [[-0.5, at], [0.5, at]]]) {
        context.moveTo(...project(...from, z).slice(0, 2));
        context.lineTo(...project(...to, z).slice(0, 2));
      }
    }
    context.stroke();
  };

  const labels = (context, land, project) => {
    context.fillStyle = "#1d2329";
    context.font = "20px system-ui, sans-serif";
    context.textAlign = "center";
    const z = -TALL / 2;
    const write = (text, x, y) => context.fillText(text, ...project(x, y, z).slice(0, 2));
    write("α", 0, -0.6);
    write("β", -0.6, 0);
    const ends = (values) => [values[0], values[values.length - 1]].map((v) => viewer.number(Number(v.toPrecision(3))));
    const [a0, a1] = ends(land.alpha);
    const [b0, b1] = ends(land.beta);
    write(a0, -0.46, -0.58);
    write(a1, 0.46, -0.58);
    write(b0, -0.58, -0.46);
    write(b1, -0.58, 0.46);
  };

  // The points of the path on the surface; null where it is outside or a hole.
  const track = (land, height, project, up) => {
    const path = land.trajectory;
    if (!path) return [];
    const inside = (values, x) => x >= values[0] && x <= values[values.length - 1];
    return path.alpha.map((alpha, n) => {
      const beta = path.beta[n];
      if (!inside(land.alpha, alpha) || !inside(land.beta, beta)) return null;
      const value = between(height, within(land.alpha, alpha), within(land.beta, beta));
      return value === null ? null : project(unit(land.alpha, alpha), unit(land.beta, beta), up(value) + 0.008);
    });
  };

  // The path's dots, and its lines between them.
  const pieces = (points) => points.flatMap((point, n) => {
    if (!point) return [];
    const found = [{ depth: point[2] - 0.01, paint: (context) => dot(context, point, false) }];
    const next = points[n + 1];
    if (next) found.push({ depth: (point[2] + next[2]) / 2, paint: (context) => segment(context, point, next) });
    return found;
  });

  const segment = (context, from, to) => {
    for (const [colour, width] of [["#000", 5], ["#fff", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(from[0], from[1]);
      context.lineTo(to[0], to[1]);
      context.stroke();
    }
  };

  viewer.surface3d = { base, draw };
})();

"use strict";
// Values to colours.

(() => {
  const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

  // A colour as the 32 bits that ImageData holds.
  const pack = (r, g, b) =>
    (little ? (255 << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | 255) >>> 0;

  const fromHex = (text) => {
    const part = (n) => parseInt(text.slice(2 * n, 2 * n + 2), 16);
    return Array.from({ length: text.length / 6 }, (_, n) => [part(3 * n), part(3 * n + 1), part(3 * n + 2)]);
  };

  const tables = {};
  for (const [name, text] of Object.entries(viewer.content.colours)) {
    const triples = fromHex(text);
    tables[name] = { triples, packed: Uint32Array.from(triples, (c) => pack(...c)) };
  }

  const NONE = [128, 128, 128];
  const none = pack(...NONE);

  // Where a value lies between the ends of a scale, 0 to 1.
  const position = (value, scale) => {
    const { low, high, kind } = scale;
    const x = kind === "log"
      ? (value > 0 ? Math.log(value / low) / Math.log(high / low) : 0)
      : (value - low) / (high - low);
    return x < 0 ? 0 : x > 1 ? 1 : x;
  };

  // The value at a position.
  const valueAt = (x, scale) => (scale.kind === "log"
    ? scale.low * (scale.high / scale.low) ** x
    : scale.low + x * (scale.high - scale.low));

  // Colours of a table of values.
  const ofValues = (values, scale, name) => {
    const { packed } = tables[name];
    const out = new Uint32Array(values.length);
    const { low, high } = scale;
    const factor = scale.kind === "log" ? 255 / Math.log(high / low) : 255 / (high - low);
    const start = scale.kind === "log" ? Math.log(low) : low;
    for (let n = 0; n < values.length; n += 1) {
      const value = values[n];
      if (value !== value) { out[n] = none; continue; }
      let x = scale.kind === "log" ? (value > 0 ? Math.log(value) : start) : value;
      x = (x - start) * factor;
      out[n] = packed[x < 0 ? 0 : x > 255 ? 255 : Math.round(x)];
    }
    return out;
  };

  // Colours of a table of categories; 255 has none.
  const ofCategories = (values, colours) => {
    const packed = colours.map((c) => pack(...c));
    return Uint32Array.from(values, (v) => (v < packed.length ? packed[v] : none));
  };

  // The colours of a table, made once for each scale: make() makes them.
  const known = new WeakMap();
  const cached = (values, name, make) => {
    const last = known.get(values);
    if (last && last.name === name) return last.colours;
    const colours = make();
    known.set(values, { name, colours });
    return colours;
  };

  const css = (triple) => `rgb(${triple.join(" ")})`;

  const gradient = (name) => {
    const { triples } = tables[name];
    const stops = Array.from({ length: 17 }, (_, n) => css(triples[Math.min(255, n * 16)]));
    return `linear-gradient(to right, ${stops.join(", ")})`;
  };

  const at = (x, name) => tables[name].triples[Math.round(255 * Math.min(1, Math.max(0, x)))];

  viewer.colour = { position, valueAt, ofValues, ofCategories, cached, css, gradient, at, NONE };
})();

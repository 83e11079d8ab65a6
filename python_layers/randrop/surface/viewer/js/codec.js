"use strict";
// Unpacks what packing.py packed.

(() => {
  const CODES = 2 * viewer.content.packing.half + 1;

  // The bytes of a part of the page, unpacked, as [Uint8Array, ...].
  const parts = async (number) => {
    const text = atob(document.getElementById(`blob-${number}`).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const buffer = await new Response(stream).arrayBuffer();
    const head = new DataView(buffer);
    const count = head.getUint32(0, true);
    let begin = 4 * (count + 1);
    const found = [];
    for (let n = 1; n <= count; n += 1) {
      const length = head.getUint32(4 * n, true);
      found.push(new Uint8Array(buffer, begin, length));
      begin += length;
    }
    return found;
  };

  // A number of the sequence 0, -1, 1, -2, ... from its low and its high byte.
  const unfold = (low, high) => {
    const folded = low | (high << 8);
    return folded & 1 ? -((folded + 1) >> 1) : folded >> 1;
  };

  // Codes of a map: each is what left, above and above left predict, and a difference.
  const grid = (part, height, width) => {
    const size = height * width;
    const out = new Uint16Array(size);
    for (let row = 0, i = 0; row < height; row += 1) {
      let left = 0;
      let corner = 0;
      for (let column = 0; column < width; column += 1, i += 1) {
        const above = row ? out[i - width] : 0;
        const low = left < above ? left : above;
        const high = left < above ? above : left;
        let guess = left + above - corner;
        guess = guess < low ? low : guess > high ? high : guess;
        left = guess + unfold(part[i], part[size + i]);
        corner = above;
        out[i] = left;
      }
    }
    return out;
  };

  const scaleOf = (part) => {
    const head = new DataView(part.buffer, part.byteOffset, 16);
    return [head.getFloat64(0, true), head.getFloat64(8, true)];
  };

  const value = (code, unit, step) => (code ? Math.sinh((code - 1) * step) * unit : NaN);

  // Keys need 16 bits, or with many classes 32.
  const arrayFor = (count) => (count > 0xffff ? Uint32Array : Uint16Array);

  // A map whose values follow from its keys, except for some pixels, which get keys of
  // their own. size: how many keys there can be.
  const table = (part, keys, size, counted) => {
    const [unit, step] = scaleOf(part);
    const head = new DataView(part.buffer, part.byteOffset);
    const apart = head.getUint32(16, true);
    const present = new Uint8Array(size);
    for (let i = 0; i < keys.length; i += 1) present[keys[i]] = 1;
    const values = new Float64Array(size + apart).fill(NaN);
    const start = 20 + 6 * apart;
    const count = (part.length - start) / 2;
    let n = start;
    let code = 0;
    for (let key = 0; key < size; key += 1) {
      if (!present[key] || !counted(key)) continue;
      code += unfold(part[n], part[n + count]);
      values[key] = value(code, unit, step);
      n += 1;
    }
    if (n - start !== count) throw new Error("a table does not fit its map");
    if (!apart) return { keys, values };
    const own = arrayFor(size + apart).from(keys);
    for (let e = 0; e < apart; e += 1) {
      own[head.getUint32(20 + 4 * e, true)] = size + e;
      values[size + e] = value(head.getUint16(20 + 4 * apart + 2 * e, true), unit, step);
    }
    return { keys: own, values };
  };

  // A map that is packed itself: its keys, and the value of each.
  const ownMap = (part, height, width) => {
    const [unit, step] = scaleOf(part);
    const keys = grid(part.subarray(16), height, width);
    let largest = 0;
    for (let i = 0; i < keys.length; i += 1) if (keys[i] > largest) largest = keys[i];
    const values = new Float64Array(largest + 1);
    for (let code = 0; code <= largest; code += 1) values[code] = value(code, unit, step);
    return { keys, values };
  };

  // keys: class and probability; the same with an offset where a bit is set.
  const withDropped = (keys, bits, offset) => {
    const out = new (arrayFor(2 * offset))(keys.length);
    for (let i = 0; i < keys.length; i += 1) {
      out[i] = keys[i] + ((bits[i >> 3] >> (i & 7)) & 1 ? offset : 0);
    }
    return out;
  };

  // count: how many states there are.
  const combine = (state, code, count) => {
    const out = new (arrayFor(count * CODES))(code.length);
    for (let i = 0; i < code.length; i += 1) out[i] = state[i] * CODES + code[i];
    return out;
  };

  viewer.codec = { parts, grid, table, ownMap, withDropped, combine };
})();

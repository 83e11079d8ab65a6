"use strict";
// The maps of a picture at a snapshot. Each is an array of keys, one a pixel, and a table
// with the value or the category of each key.

(() => {
  const { half: HALF, probabilities } = viewer.content.packing;
  const { codec } = viewer;
  const LAST = 2 * HALF - 1;
  const CODES = LAST + 2; // The last one is not a number.
  const BYTES = 400e6; // Of unpacked maps that are kept.

  const chance = Float64Array.from([...probabilities, NaN]);
  const opposite = (code) => (code > LAST ? NaN : chance[LAST - code]);

  const states = (run) => (viewer.isSoftmax(run) ? run.facts.channels.length + 1 : 3);

  // A table over state and code.
  const tableOf = (count, f) => Float64Array.from(
    { length: count * CODES }, (_, key) => f(Math.floor(key / CODES), key % CODES));

  // True negative, true positive, false positive, false negative.
  const outcome = (state, code) => {
    if (state > 1 || code > LAST) return 255;
    const predicted = code >= HALF;
    return state ? (predicted ? 1 : 3) : (predicted ? 2 : 0);
  };
  const TABLES = {
    outcome: tableOf(3, outcome),
    truth: tableOf(3, (state) => (state > 1 ? 255 : state)),
    sigmoid: tableOf(3, (state, code) => [opposite(code), chance[code], NaN][state]),
  };
  const byRun = new Map();
  const tablesOf = (run) => {
    if (!byRun.has(run)) {
      const count = states(run);
      const ignored = count - 1;
      const positive = (state) => state === 1 || (viewer.isSoftmax(run) && state > 0);
      byRun.set(run, {
        confidence: viewer.isSoftmax(run)
          ? tableOf(count, (state, code) => (state === ignored ? NaN : chance[code]))
          : TABLES.sigmoid,
        // Dropped, kept background, kept foreground.
        kept: tableOf(2 * count, (state, _) => {
          if (state % count === ignored) return 255;
          return state >= count ? 0 : positive(state) ? 2 : 1;
        }),
      });
    }
    return byRun.get(run);
  };

  const truths = new Map();
  const truthOf = async (run, i) => {
    const number = run.truths[i];
    if (!truths.has(number)) truths.set(number, await codec.parts(number));
    return truths.get(number);
  };

  const decode = async (run, t, i) => {
    const [height, width] = run.facts.size;
    const size = height * width;
    const { blob, kinds } = run.steps[t][i];
    const [parts, truth] = await Promise.all([codec.parts(blob), truthOf(run, i)]);
    const count = states(run);
    const next = parts[Symbol.iterator]();
    const take = () => next.next().value;
    const codes = run.facts.channels.map(() => codec.grid(take(), height, width));
    let keys;
    if (viewer.isSoftmax(run)) {
      const own = new Uint16Array(size);
      const highest = codes.length - 1;
      for (let p = 0; p < size; p += 1) own[p] = codes[Math.min(truth[0][p], highest)][p];
      keys = [codec.combine(truth[0], own, count)];
    } else {
      keys = codes.map((code, c) => codec.combine(truth[c], code, count));
    }
    const counted = (key) => Math.floor(key / CODES) % count !== count - 1;
    const losses = kinds.map((kind, k) => {
      const maps = run.selects[k]
        ? keys.map((key) => codec.withDropped(key, take(), count * CODES))
        : keys;
      return [...kind].map((letter, l) => {
        if (letter === "M") return { ...codec.ownMap(take(), height, width), kept: maps[l] };
        const total = count * CODES * (run.selects[k] ? 2 : 1);
        return { ...codec.table(take(), maps[l], total, counted), kept: maps[l] };
      });
    });
    return { codes, keys, truth, losses, binary: [], size, bytes: bytesOf(codes, keys, losses) };
  };

  const bytesOf = (codes, keys, losses) => {
    const arrays = new Set([...codes, ...keys]);
    for (const map of losses.flat()) arrays.add(map.keys).add(map.kept).add(map.values);
    let sum = 0;
    for (const array of arrays) sum += array.byteLength;
    return sum;
  };

  // Unpacked snapshots: the least recently used are dropped first.
  const cache = new Map();
  const waiting = new Map();
  let bytes = 0;
  const name = (run, t, i) => `${viewer.runs.indexOf(run)}/${t}/${i}`;

  const ready = (run, t, i) => {
    const key = name(run, t, i);
    const found = cache.get(key);
    if (found) {
      cache.delete(key);
      cache.set(key, found);
    }
    return found;
  };

  const load = (run, t, i) => {
    const key = name(run, t, i);
    const found = ready(run, t, i);
    if (found) return Promise.resolve(found);
    if (!waiting.has(key)) {
      waiting.set(key, decode(run, t, i).then((maps) => {
        cache.set(key, maps);
        bytes += maps.bytes;
        for (const [other, old] of cache) {
          if (bytes <= BYTES || other === key) break;
          cache.delete(other);
          bytes -= old.bytes;
        }
        return maps;
      }).finally(() => waiting.delete(key)));
    }
    return waiting.get(key);
  };

  // Unpack the other snapshots of the shown picture, while nothing else happens.
  const idle = window.requestIdleCallback || ((f) => setTimeout(f, 20));
  let ahead = 0;
  const prepare = () => {
    ahead += 1;
    const mine = ahead;
    const todo = viewer.iterations.flatMap((_, n) => viewer.runs.map((run) => [run, n]));
    const i = viewer.state.picture;
    const one = async () => {
      if (mine !== ahead || !todo.length || bytes > 0.8 * BYTES) return;
      const [run, t] = todo.shift();
      if (t < run.iterations.length) await load(run, t, i);
      idle(one);
    };
    idle(one);
  };

  // Class 1 or 0 of a channel, with the code of its probability.
  const binary = (run, maps, channel) => {
    if (!viewer.isSoftmax(run)) return maps.keys[channel];
    if (!maps.binary[channel]) {
      const ignored = run.facts.channels.length;
      const state = maps.truth[0].map((s) => (s === ignored ? 2 : Number(s === channel)));
      maps.binary[channel] = codec.combine(state, maps.codes[channel], 3);
    }
    return maps.binary[channel];
  };

  // The map that a panel shows: { keys, values } with values or categories.
  const ofPanel = (panel, maps, channel) => {
    const { run, kind, k } = panel;
    const l = viewer.isSoftmax(run) ? 0 : channel;
    if (kind === "probability") return { keys: maps.codes[channel], values: chance };
    if (kind === "confidence") return { keys: maps.keys[l], values: tablesOf(run).confidence };
    if (kind === "outcome") return { keys: binary(run, maps, channel), values: TABLES.outcome };
    if (kind === "truth") return { keys: binary(run, maps, channel), values: TABLES.truth };
    if (kind === "kept") return { keys: maps.losses[k][l].kept, values: tablesOf(run).kept };
    return maps.losses[k][l];
  };

  viewer.maps = { load, ready, prepare, ofPanel };
})();

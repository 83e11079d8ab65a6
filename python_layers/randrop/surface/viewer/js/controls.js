"use strict";
// The slider, the buttons, the choices and the keys.

(() => {
  const { el } = viewer;
  const byId = (id) => document.getElementById(id);
  const PAUSE = 220; // Milliseconds that a snapshot is shown while playing.

  let playing = 0;

  const isPlaying = () => playing !== 0;

  const stop = () => {
    clearTimeout(playing);
    playing = 0;
    byId("play").textContent = "▶";
    byId("play").setAttribute("aria-label", "Play");
  };

  const play = () => {
    const last = viewer.iterations.length - 1;
    if (last < 1) return;
    if (viewer.state.step >= last) viewer.set({ step: 0 });
    const next = () => {
      if (viewer.state.step >= last) { stop(); return; }
      viewer.set({ step: viewer.state.step + 1 });
      playing = setTimeout(next, PAUSE);
    };
    playing = setTimeout(next, PAUSE);
    byId("play").textContent = "❚❚";
    byId("play").setAttribute("aria-label", "Pause");
  };

  const toggle = () => (isPlaying() ? stop() : play());

  const go = (step) => {
    stop();
    viewer.set({ step: Math.min(viewer.iterations.length - 1, Math.max(0, step)) });
  };

  const choose = (select, values, name) => {
    select.replaceChildren(...values.map((text, n) => el("option", { value: n }, text)));
    select.closest("label").hidden = values.length < 2;
    select.addEventListener("change", () => viewer.set({ [name]: Number(select.value) }));
    viewer.on(name, () => { select.value = viewer.state[name]; });
  };

  const showStep = () => {
    const slider = byId("slider");
    slider.value = viewer.state.step;
    const now = viewer.iteration();
    const last = viewer.iterations[viewer.iterations.length - 1];
    byId("iteration").textContent = `${now} of ${last}`;
    slider.setAttribute("aria-valuetext", `iteration ${now} of ${last}`);
    // Runs with other snapshots than the slider's show their last one before it.
    const places = viewer.runs.map((run) => run.iterations[viewer.snapshot(run)]);
    const line = byId("snapshots");
    line.hidden = places.every((iteration) => iteration === now);
    line.textContent = viewer.runs.map((run, r) => `${viewer.runName(run)} is at iteration ${places[r]}`).join(", ");
  };

  const onKey = (event) => {
    const target = event.target;
    const typing = target.matches("select, textarea, input:not([type=range]):not([type=checkbox])");
    if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
    const actions = {
      ",": () => go(viewer.state.step - 1),
      ".": () => go(viewer.state.step + 1),
      "+": () => viewer.pointer.zoomBy(2),
      "=": () => viewer.pointer.zoomBy(2),
      "-": () => viewer.pointer.zoomBy(0.5),
      0: () => viewer.pointer.setView(1, 0, 0),
      n: () => viewer.set({ picture: (viewer.state.picture + 1) % viewer.runs[0].names.length }),
    };
    if (!target.matches("button, summary, input[type=checkbox]")) actions[" "] = toggle;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };

  const build = () => {
    const run = viewer.runs[0];
    const slider = byId("slider");
    slider.max = viewer.iterations.length - 1;
    slider.addEventListener("input", () => go(Number(slider.value)));
    byId("back").addEventListener("click", () => go(viewer.state.step - 1));
    byId("forth").addEventListener("click", () => go(viewer.state.step + 1));
    byId("play").addEventListener("click", toggle);
    byId("closer").addEventListener("click", () => viewer.pointer.zoomBy(2));
    byId("wider").addEventListener("click", () => viewer.pointer.zoomBy(0.5));
    byId("whole").addEventListener("click", () => viewer.pointer.setView(1, 0, 0));
    choose(byId("picture"), run.names.map((name, i) => `${name} (${run.subsets[i]})`), "picture");
    choose(byId("channel"), run.facts.channels, "channel");
    byId("joint").addEventListener("change", (event) => viewer.set({ joint: event.target.value === "joint" }));
    byId("scale").addEventListener("change", (event) => viewer.set({ scale: event.target.value }));
    document.addEventListener("keydown", onKey);
    document.addEventListener("pointerdown", (event) => {
      if (!byId("chooser").contains(event.target)) byId("chooser").open = false;
    });
    viewer.on("step", showStep);
    showStep();
  };

  viewer.controls = { build, isPlaying };
})();

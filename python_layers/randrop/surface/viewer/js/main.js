"use strict";
// Starts the page.

(() => {
  if (typeof DecompressionStream === "undefined") {
    viewer.complain("This browser cannot unpack the page. Use Chrome 80, Firefox 113, Safari 16.4 or a newer one.");
    return;
  }

  const fail = (error) => {
    viewer.complain(`This page cannot show its maps (${error.message}). Make it again with surface.py view.`);
    console.error(error);
  };

  const start = async () => {
    viewer.landscape.build();
    if (!viewer.runs.length) return;
    // Begin with foreground: the first class of a softmax is the background.
    viewer.state.channel = viewer.isSoftmax(viewer.runs[0]) ? 1 : 0;
    viewer.state.joint = viewer.panels.alike();
    viewer.panels.build();
    viewer.controls.build();
    viewer.pointer.build();
    viewer.graphs.build();
    document.getElementById("channel").value = viewer.state.channel;
    document.getElementById("joint").value = viewer.state.joint ? "joint" : "own";
    const redraw = () => { viewer.drawn = viewer.panels.draw().catch(fail); };
    viewer.on("step picture channel joint scale hidden", redraw);
    viewer.on("joint scale hidden", viewer.panels.explain);
    viewer.on("step channel hidden", viewer.graphs.draw);
    viewer.on("picture", viewer.maps.prepare);
    viewer.panels.explain();
    viewer.graphs.draw();
    await viewer.panels.draw();
    viewer.maps.prepare();
  };

  viewer.started = start().catch(fail);
})();

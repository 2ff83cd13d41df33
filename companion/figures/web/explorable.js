// An explorable: one picture, the sheet, holds all frames; sliders choose which one is shown.
// Frame k lies at column k % columns and row floor(k / columns) of the sheet.

const makeStage = (sheet, facts) => {
  const stage = document.createElement("canvas");
  stage.width = facts.width;
  stage.height = facts.height;
  stage.className = facts.look;
  stage.style.maxWidth = `${facts.shown}px`;
  stage.setAttribute("role", "img");
  stage.setAttribute("aria-label", sheet.alt);
  return stage;
};

const addSlider = (controls, name, labels, start, draw) => {
  const row = add(controls, "label", {});
  add(row, "span", { textContent: name });
  const slider = add(row, "input", { type: "range", min: 0, max: labels.length - 1, step: 1 });
  slider.value = start;
  slider.setAttribute("aria-label", name);
  slider.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  const reading = add(row, "output", {});
  reading.setAttribute("aria-live", "off");
  slider.addEventListener("input", () => {
    reading.textContent = labels[slider.value];
    slider.setAttribute("aria-valuetext", labels[slider.value]);
    draw();
  });
  return slider;
};

const move = (slider) => slider.dispatchEvent(new Event("input"));

// A button that walks a slider to its end; it stops at any touch of the other controls.
const addPlay = (controls, slider) => {
  const button = add(controls, "button", { type: "button", textContent: "Play" });
  button.dataset.lmSuppressShortcuts = "true";
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  };
  const step = () => {
    if (slider.value === slider.max || !button.isConnected) {
      stop();
      return;
    }
    slider.stepUp();
    move(slider);
  };
  button.addEventListener("click", () => {
    if (timer) {
      stop();
      return;
    }
    if (slider.value === slider.max) {
      slider.value = 0;
      move(slider);
    }
    button.textContent = "Pause";
    timer = setInterval(step, 400);
  });
  for (const kind of ["pointerdown", "keydown"]) {
    controls.addEventListener(kind, (event) => event.target === button || stop());
  }
};

wake("companion-explorable", (root, facts) => {
  const { width, height, columns, labels, descriptions, start } = facts;
  const sheet = root.querySelector("img");
  const stage = makeStage(sheet, facts);
  const controls = document.createElement("div");
  sheet.before(stage, controls);
  sheet.style.display = "none";
  const draw = () => {
    const k = sliders.reduce((sum, slider, i) => sum * labels[i].length + +slider.value, 0);
    const x = width * (k % columns);
    const y = height * Math.floor(k / columns);
    stage.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height);
    stage.dataset.frame = k;
  };
  const sliders = labels.map((names, i) =>
    addSlider(controls, descriptions[i], names, start[i], draw));
  addPlay(controls, sliders[sliders.length - 1]);
  const begin = () => sliders.forEach(move);
  if (sheet.complete) {
    begin();
  } else {
    sheet.addEventListener("load", begin);
  }
});

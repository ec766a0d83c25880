// The heart that a reader moves: a slider for each factor, two hearts over each other.
"use strict";

(() => {
  const told = ecgSpark.data("heart");
  if (!told) return;
  const decoder = { ...told.decoder, ...ecgSpark.decoder(told.decoder) };
  ecgSpark.heart = { decoder, factors: told.factors.map((factor) => factor.name) };
  const { make, paper } = ecgSpark;
  const NARROW = 560; // px, below which three leads stand beside each other
  const REACH = 4; // standard deviations that a slider goes to either side
  const UV = 1000;

  const none = () => told.factors.map(() => 0);
  const hearts = { A: none(), B: none() };
  const beats = { A: decoder.decode(hearts.A), B: decoder.decode(hearts.B) };
  let moved = "A";
  let shown = "hearts";
  const place = document.querySelector("#heart .picture");
  const status = document.querySelector("#heart [role=status]");
  let pictures = null;

  function layOut() {
    const columns = place.clientWidth < NARROW ? 3 : 4;
    const height = columns === 3 ? 20 : 25;
    const zero = columns === 3 ? 12 : 15;
    const shared = { decoder, columns, height, zero };
    pictures = {
      columns,
      hearts: paper.picture({ ...shared, curves: ["heart-b", "heart-a"] }),
      difference: paper.picture({ ...shared, curves: ["difference"], paper: false }),
    };
    pictures.room = Math.min(zero, height - zero) - 1; // mm for the largest difference
    draw();
  }

  function draw() {
    const { A, B } = beats;
    const most = paper.largest(A, B, decoder);
    const same = Math.abs(most.uv) < 0.5;
    const words = same
      ? "Hearts A and B are the same."
      : `A differs from B most in ${most.lead}, ${most.ms} ms from R: by ${most.uv.toFixed(0)} µV.`;
    const { hearts: both, difference, room } = pictures;
    if (shown === "hearts") {
      both.draw(0, same ? null : B, paper.MM_PER_MV);
      both.draw(1, A, paper.MM_PER_MV);
      both.say(
        `Twelve leads. ${words} ${described("A")} ${described("B")}`, "25 mm/s, 10 mm/mV");
    } else {
      const scale = room / Math.max(Math.abs(most.uv), 1);
      difference.draw(0, A.map((value, i) => UV * (value - B[i])), scale);
      const bar = paper.round(room / scale);
      difference.say(
        `Difference of heart A from heart B in twelve leads. ${words}`,
        `${bar} µV`, bar * scale);
    }
    place.replaceChildren((shown === "hearts" ? both : difference).svg);
    status.textContent = words;
  }

  function described(heart) {
    const set = told.factors
      .map(({ name }, k) => [name, hearts[heart][k]])
      .filter(([, value]) => Math.abs(value) >= 0.05)
      .map(([name, value]) => `${name} ${withSign(value)}`);
    return `Heart ${heart}: ${set.length ? set.join(", ") : "the mean of all people"}.`;
  }

  const withSign = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

  function move(sds) {
    hearts[moved] = sds;
    beats[moved] = decoder.decode(sds);
    draw();
  }

  const sliders = told.factors.map(({ name, follows }, k) => {
    const output = make("output", { textContent: withSign(0) });
    const input = make("input", { type: "range", min: -REACH, max: REACH, step: 0.05, value: 0 });
    input.id = `slider-${name}`;
    input.addEventListener("input", () => {
      preset.value = "";
      move(hearts[moved].map((value, i) => (i === k ? Number(input.value) : value)));
      output.textContent = withSign(hearts[moved][k]);
      input.setAttribute("aria-valuetext", `${output.textContent} standard deviations`);
    });
    const label = make("label", { htmlFor: input.id }, make("b", { textContent: name }));
    if (follows) label.append(make("span", { className: "quiet", textContent: ` ${follows}` }));
    return { row: make("div", { className: "slider" }, label, output, input), input, output };
  });

  function showSliders() {
    sliders.forEach(({ input, output }, k) => {
      input.value = hearts[moved][k];
      output.textContent = withSign(hearts[moved][k]);
      input.setAttribute("aria-valuetext", `${output.textContent} standard deviations`);
    });
  }

  const preset = make("select", { id: "heart-preset" });
  preset.append(make("option", { value: "", textContent: "choose a group of people" }));
  told.groups.forEach(([title, groups], i) => {
    const part = make("optgroup", { label: title });
    groups.forEach(({ text, n }, j) => {
      part.append(make("option", { value: `${i} ${j}`, textContent: `${text}, n ${n}` }));
    });
    preset.append(part);
  });
  preset.addEventListener("change", () => {
    if (!preset.value) return;
    const [i, j] = preset.value.split(" ").map(Number);
    move([...told.groups[i][1][j].sds]);
    showSliders();
  });

  function choice(legend, name, options, chosen, act) {
    const set = make("fieldset", {}, make("legend", { textContent: legend }));
    for (const [value, text] of options) {
      const input = make("input", { type: "radio", name, value, checked: value === chosen });
      input.addEventListener("change", () => act(value));
      set.append(make("label", {}, input, ` ${text}`));
    }
    return set;
  }

  function button(text, act) {
    const made = make("button", { type: "button", textContent: text });
    made.addEventListener("click", act);
    return made;
  }

  const keep = (kind) => () =>
    paper.save(pictures[shown].svg, shown === "hearts" ? "heart" : "heart-difference", kind);
  document.querySelector("#heart .controls").append(
    choice("Move", "heart-moved", [["A", "heart A"], ["B", "heart B"]], "A", (value) => {
      moved = value;
      preset.value = "";
      showSliders();
    }),
    choice("Show", "heart-shown", [["hearts", "both"], ["difference", "A − B in µV"]], "hearts",
      (value) => {
        shown = value;
        draw();
      }),
    ...(told.groups.length
      ? [make("label", { htmlFor: preset.id, className: "preset" }, "Start from ", preset)]
      : []),
    button("Mean heart", () => {
      preset.value = "";
      move(none());
      showSliders();
    }),
    button("Save SVG", keep("svg")),
    button("Save PNG", keep("png")),
  );
  document.querySelector("#heart .sliders").append(...sliders.map(({ row }) => row));
  document.querySelector("#heart .live").hidden = false;
  showSliders();
  layOut();
  new ResizeObserver(() => {
    if ((place.clientWidth < NARROW ? 3 : 4) !== pictures.columns) layOut();
  }).observe(place);
})();

// Twelve leads drawn as on ECG paper, in SVG whose unit is a millimetre: 25 mm/s, 10 mm/mV.
"use strict";

ecgSpark.paper = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LAYOUTS = {
    4: [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"]],
    3: [["I", "aVR", "V1"], ["II", "aVL", "V2"], ["III", "aVF", "V3"], ["V4", "V5", "V6"]],
  };
  const FROM_MS = -320;
  const UNTIL_MS = 520;
  const MM_PER_MS = 0.025;
  const WIDTH = 22; // of a lead, with a gap of 1 mm after it

  function element(name, attributes = {}, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  /** The squares of the paper: small ones of 1 mm, large ones of 5. */
  function squares(width, height) {
    const line = (step) => {
      let d = "";
      for (let x = 0; x <= width; x += step) d += `M${x} 0V${height}`;
      for (let y = 0; y <= height; y += step) d += `M0 ${y}H${width}`;
      return d;
    };
    return [
      element("path", { class: "small-squares", d: line(1) }),
      element("path", { class: "large-squares", d: line(5) }),
    ];
  }

  /**
   * A picture into which beats are drawn. `curves` are the class names of its lines; `height` of a
   * row in mm; `zero` where 0 mV lies in a row, in mm from its top.
   */
  function picture({ decoder, columns, curves, height = 25, zero = 15, paper = true }) {
    const layout = LAYOUTS[columns];
    const size = [columns * WIDTH + 1, layout.length * height];
    const svg = element("svg", { viewBox: `0 0 ${size[0]} ${size[1]}`, role: "img" });
    svg.append(...(paper ? squares(...size) : []));
    const first = Math.round(decoder.r_index + (FROM_MS / 1000) * decoder.rate_hz);
    const last = Math.round(decoder.r_index + (UNTIL_MS / 1000) * decoder.rate_hz);
    const step = (1000 / decoder.rate_hz) * MM_PER_MS;
    const places = [];
    layout.forEach((names, row) => names.forEach((lead, column) => {
      const place = { lead, x: column * WIDTH + 0.5, y: row * height + zero };
      const group = element("g", { transform: `translate(${place.x} ${place.y})` });
      if (!paper) group.append(element("path", { class: "zero", d: `M0 0H${WIDTH - 1}` }));
      place.lines = curves.map((name) => group.appendChild(element("path", { class: name })));
      group.append(element("text", { class: "lead", x: 0.4, y: 2.6 - zero }, lead));
      svg.append(group);
      places.push(place);
    }));
    const bar = svg.appendChild(element("path", { class: "bar" }));
    const scaleText = { class: "scale", x: size[0] - 1.5, y: size[1] - 0.8 };
    const scale = svg.appendChild(element("text", scaleText));

    /** One curve of each lead; `beat` is 12 x samples, `mmPerUnit` its scale; none where null. */
    function draw(curve, beat, mmPerUnit) {
      for (const { lead, lines } of places) {
        let d = "";
        const from = decoder.leads.indexOf(lead) * decoder.samples;
        for (let t = first; beat && t < last; t++) {
          const x = ((t - first) * step).toFixed(2);
          d += `${d ? "L" : "M"}${x} ${(-beat[from + t] * mmPerUnit).toFixed(2)}`;
        }
        lines[curve].setAttribute("d", d);
      }
    }

    /** The area between two curves of each lead. */
    function fill(curve, low, high, mmPerUnit) {
      for (const { lead, lines } of places) {
        const from = decoder.leads.indexOf(lead) * decoder.samples;
        const point = (beat, t) =>
          `${((t - first) * step).toFixed(2)} ${(-beat[from + t] * mmPerUnit).toFixed(2)}`;
        const up = [];
        const down = [];
        for (let t = first; t < last; t++) {
          up.push(point(high, t));
          down.unshift(point(low, t));
        }
        lines[curve].setAttribute("d", `M${up.join("L")}L${down.join("L")}Z`);
      }
    }
    /** What the picture shows, and its scale: in words, beside a bar of so many mm. */
    const say = (label, words, millimetres = 0) => {
      svg.setAttribute("aria-label", label);
      scale.textContent = words;
      bar.setAttribute("d", `M${size[0] - 0.8} ${size[1] - 0.8}v${-millimetres}`);
    };
    return { svg, draw, fill, say };
  }

  /** An SVG with the colours that it has on the page, so that it is whole by itself. */
  function standalone(svg) {
    const copy = svg.cloneNode(true);
    const shown = svg.querySelectorAll("path, text");
    copy.querySelectorAll("path, text").forEach((part, k) => {
      const style = getComputedStyle(shown[k]);
      for (const name of ["fill", "stroke", "stroke-width", "opacity", "font-size", "font-family",
        "font-weight", "text-anchor"]) part.style.setProperty(name, style.getPropertyValue(name));
    });
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    copy.setAttribute("width", `${width}mm`);
    copy.setAttribute("height", `${height}mm`);
    copy.style.background = getComputedStyle(document.body).backgroundColor;
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  }

  function save(svg, name, kind) {
    const { text, width, height } = standalone(svg);
    if (kind === "svg") {
      ecgSpark.save(new Blob([text], { type: "image/svg+xml" }), `${name}.svg`);
      return;
    }
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      const scale = 2400 / width;
      canvas.width = 2400;
      canvas.height = Math.round(height * scale);
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => ecgSpark.save(blob, `${name}.png`), "image/png");
    };
    image.src = `data:image/svg+xml,${encodeURIComponent(text)}`;
  }

  /** The instant and lead at which two beats differ most, and by how much. */
  function largest(beat, other, decoder) {
    let at = 0;
    for (let i = 0; i < beat.length; i++) {
      if (Math.abs(beat[i] - other[i]) > Math.abs(beat[at] - other[at])) at = i;
    }
    const time = at % decoder.samples;
    return {
      uv: 1000 * (beat[at] - other[at]),
      lead: decoder.leads[Math.floor(at / decoder.samples)],
      ms: Math.round(((time - decoder.r_index) * 1000) / decoder.rate_hz),
    };
  }
  /** The largest of 1, 2 or 5 times a power of ten that is not above a value. */
  function round(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return power * [5, 2, 1].find((step) => step * power <= value);
  }
  return { element, picture, round, save, largest, MM_PER_MV: 10 };
})();

// What the scripts of a page share.
"use strict";

const ecgSpark = {};

/** The data that the page holds for a script; null where it has none. */
ecgSpark.data = (id) => {
  const element = document.getElementById(`${id}-data`);
  return element && JSON.parse(element.textContent);
};

/** An array of packed.py as Float32Array. */
ecgSpark.unpack = ({ shape, step, int16, float32 }) => {
  const bytes = Uint8Array.from(atob(int16 ?? float32), (sign) => sign.charCodeAt(0));
  if (float32 !== undefined) return new Float32Array(bytes.buffer);
  const whole = new Int16Array(bytes.buffer);
  const width = whole.length / (shape[0] || 1);
  return Float32Array.from(whole, (value, k) => value * step[Math.floor(k / width)]);
};

/** An element with properties and children. */
ecgSpark.make = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

/** Let the reader keep a file. */
ecgSpark.save = (blob, name) => {
  const link = ecgSpark.make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

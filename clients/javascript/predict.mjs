// Call a pipeline from JavaScript with fetch alone (Node 18 or newer; in a browser, take the bytes from a File).
//
//   node clients/javascript/predict.mjs --row image=@seven.png audio=@seven.wav --row text=seven
//   node clients/javascript/predict.mjs --address 127.0.0.1:8000 --model digits --row ...

import { readFile } from "node:fs/promises";

/** The request's body: a JSON header, then each element after its size as 4 bytes, little-endian. */
export function bodyFromRows(modalities, rows) {
  const inputs = [];
  const parts = [];
  for (const name of modalities) {
    // Every modality is an input; an empty element says that the row lacks it.
    let size = 0;
    for (const row of rows) {
      const payload = row[name] ?? new Uint8Array();
      const prefix = new DataView(new ArrayBuffer(4));
      prefix.setUint32(0, payload.length, true);
      parts.push(prefix, payload);
      size += 4 + payload.length;
    }
    inputs.push({ name, shape: [rows.length, 1], datatype: "BYTES", parameters: { binary_data_size: size } });
  }
  const header = new TextEncoder().encode(JSON.stringify({ inputs }));
  return { body: new Blob([header, ...parts]), headerLength: header.length };
}

/** The outputs of a pipeline by name, each as a list of rows. */
export async function predict(address, model, rows) {
  const url = `http://${address}/v2/models/${encodeURIComponent(model)}`;
  const config = await answerOf(await fetch(`${url}/config`));
  const card = JSON.parse(config.parameters.onepath.string_value);
  const { body, headerLength } = bodyFromRows(card.modalities.map((modality) => modality.name), rows);
  const response = await fetch(`${url}/infer`, {
    method: "POST",
    body,
    headers: { "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": String(headerLength) },
    signal: AbortSignal.timeout(30_000),
  });
  const outputs = {};
  for (const { name, shape, data } of (await answerOf(response)).outputs) {
    const width = shape.slice(1).reduce((product, size) => product * size, 1);
    outputs[name] = rows.map((_, row) => data.slice(row * width, (row + 1) * width));
  }
  return { card, outputs };
}

async function answerOf(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function lineFromRow({ card, outputs }, row) {
  const names = card.modalities.map((modality) => modality.name);
  const scores = outputs.scores[row];
  const best = scores.indexOf(Math.max(...scores));
  const ok = outputs.row_status[row][0] === 0;
  const used = names.filter((_, column) => outputs.presence[row][column] === 1).join("+") || "none";
  const said = names.map((name) => [name, outputs[`${name}_status`][row][0]]).filter(([, status]) => status);
  return tableLine(row, ok ? card.labels[best] : "-", ok ? scores[best].toFixed(6) : "-", used,
    said.map(([name, status]) => `${name}: ${status}`).join("; "));
}

function tableLine(row, label, score, used, said) {
  return (String(row).padEnd(4) + label.padEnd(12) + score.padEnd(9) + used.padEnd(20) + said).trimEnd();
}

async function main(words) {
  const options = { address: "127.0.0.1:8000", model: "digits" };
  const rows = [];
  for (let at = 0; at < words.length; at++) {
    if (words[at] === "--row") rows.push({});
    else if (words[at].startsWith("--")) options[words[at].slice(2)] = words[++at];
    else {
      const [name, value] = [words[at].split("=", 1)[0], words[at].slice(words[at].indexOf("=") + 1)];
      if (!rows.length) throw new Error(`give --row before ${words[at]}`);
      rows.at(-1)[name] = value.startsWith("@") ? await readFile(value.slice(1)) : new TextEncoder().encode(value);
    }
  }
  if (!rows.length) throw new Error("usage: predict.mjs [--address HOST:PORT] [--model NAME] --row MODALITY=VALUE ...");
  const answer = await predict(options.address, options.model, rows);
  console.log(tableLine("row", "label", "score", "used", "said"));
  rows.forEach((_, row) => console.log(lineFromRow(answer, row)));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`predict.mjs: ${error.message}${error.cause ? ` (${error.cause.message})` : ""}`);
  process.exitCode = 1;
});

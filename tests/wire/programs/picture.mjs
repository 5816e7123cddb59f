// A picture in the look of another: upload, ask, wait, fetch.
//
//   KREA_BASE_URL=… KREA_API_TOKEN=… node picture.mjs look.png picture.png

import { openAsBlob } from "node:fs";
import { writeFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";

const [look, picture] = process.argv.slice(2);
const { KREA_BASE_URL, KREA_API_TOKEN } = process.env;

async function krea(path, options = {}) {
  const headers = { Authorization: `Bearer ${KREA_API_TOKEN}`, ...options.headers };
  const answer = await fetch(KREA_BASE_URL + path, { ...options, headers });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

const form = new FormData();
form.append("file", await openAsBlob(look), "look.png");
const asset = await krea("/assets", { method: "POST", body: form });

let job = await krea("/generate/image/krea/krea-2/medium", {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({
    prompt: "a fox on a hill",
    aspect_ratio: "3:2",
    resolution: "1K",
    image_style_references: [{ url: asset.image_url, strength: 0.6 }],
  }),
});

while (!job.completed_at) {
  await setTimeout(200);
  job = await krea(`/jobs/${job.job_id}`);
}
if (job.error) throw new Error(job.error.message);

const file = await fetch(job.result.urls[0]);
await writeFile(picture, Buffer.from(await file.arrayBuffer()));

// A picture whose end is told to this program, which believes only what is signed.
//
//   KREA_BASE_URL=… KREA_API_TOKEN=… WEBHOOK_SECRET=whsec_… node webhook.mjs

import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";

const { KREA_BASE_URL, KREA_API_TOKEN, WEBHOOK_SECRET } = process.env;
const key = Buffer.from(WEBHOOK_SECRET.replace("whsec_", ""), "base64");

function isSigned(headers, body) {
  const message = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
  const signature = createHmac("sha256", key).update(message).digest("base64");
  return headers["webhook-signature"].split(" ").includes(`v1,${signature}`);
}

const receiver = createServer(async (request, response) => {
  const body = await text(request);
  const signed = isSigned(request.headers, body);
  response.writeHead(signed ? 204 : 401).end();
  if (!signed) throw new Error("The webhook is not signed");
  console.log(body);
  receiver.close();
});
receiver.listen(0, "127.0.0.1", async () => {
  const answer = await fetch(`${KREA_BASE_URL}/generate/image/krea/krea-2/medium-turbo`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${KREA_API_TOKEN}`,
      "Content-Type": "application/json",
      "X-Webhook-URL": `http://127.0.0.1:${receiver.address().port}/hook`,
    },
    body: JSON.stringify({ prompt: "a fox on a hill", aspect_ratio: "1:1", resolution: "1K" }),
  });
  if (!answer.ok) throw new Error(await answer.text());
});

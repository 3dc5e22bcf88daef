// A question to the server: its answer, or an Error with what it says is wrong, and its status.
export function ask(what, body, signal) {
  return reply(what, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}

// The same about a file, which is sent as it is.
export function send(what, file, signal) {
  return reply(what, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file, signal });
}

async function reply(what, options) {
  let answer;
  try {
    answer = await fetch(what, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const file = options?.body instanceof Blob;
    throw new Error(`The server does not answer: is it still running?${file ? " Or the file cannot be read: is it a folder?" : ""}`);
  }
  const said = await answer.json().catch(() => ({ error: `the server answered with status ${answer.status}` }));
  if (!answer.ok) throw Object.assign(new Error(said.error), { status: answer.status });
  return said;
}

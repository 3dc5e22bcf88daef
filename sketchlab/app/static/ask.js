// A question to the server: its answer, or an Error with what it says is wrong.
export async function ask(what, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let reply;
  try {
    reply = await fetch(what, options);
  } catch {
    throw new Error("The server does not answer: is it still running?");
  }
  const said = await reply.json().catch(() => ({ error: `the server said ${reply.status}` }));
  if (!reply.ok) throw new Error(said.error);
  return said;
}

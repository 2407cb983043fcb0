// @sendspin/sendspin-js behind `ws` as a listener: node sendspin_js_player.mjs PORT
//
// The library speaks the protocol on a socket that it is given; who of two servers is kept is the
// embedder's to decide, and is decided here as the specification has it.
import { createRequire, register } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.cwd()}/`);
const { WebSocket, WebSocketServer } = require("ws");
globalThis.WebSocket = WebSocket;
// The package is built for bundlers: its own imports leave the file's ending out.
const endings = `export async function resolve(name, context, next) {
  try { return await next(name, context); }
  catch (error) { return name.startsWith(".") ? next(name + ".js", context) : Promise.reject(error); }
}`;
register(`data:text/javascript,${encodeURIComponent(endings)}`);
const sdk = await import(
  pathToFileURL(`${process.cwd()}/node_modules/@sendspin/sendspin-js/dist/index.js`).href
);

let current = null;
const listener = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) });
listener.on("connection", (ws) => {
  const core = new sdk.SendspinCore({
    playerId: "sendspin-js-under-test",
    clientName: "sendspin-js",
    codecs: ["pcm"],
    webSocket: ws,
  });
  const me = { core, playing: false };
  ws.on("message", (data, binary) => {
    if (binary) return;
    let told = {};
    try {
      told = JSON.parse(data.toString());
    } catch {
      return;
    }
    if (told.type !== "server/hello") return;
    me.playing = told.payload?.connection_reason === "playback";
    if (current === null) {
      current = me;
    } else if (me.playing) {
      current.core.disconnect("another_server");
      current = me;
    } else {
      core.disconnect("another_server");
    }
  });
  ws.on("close", () => {
    if (current === me) current = null;
  });
  ws.on("error", (error) => console.log("socket error:", error.message));
  core.connect().catch((error) => console.log("connect:", error.message));
});
listener.on("listening", () => console.log("listening"));

// A channel, or a peer that published, in a list of what each cost.

import { href } from "../router.js";
import { Id } from "./text.jsx";

const sections = { channels: "channels", peers: "devices" };

/** Spender links to the screen of a channel or a device. Messages by REST are from "server", which is no device. */
export const Spender = ({ kind, name }) => (
  kind === "peers" && name === "server"
    ? <span title="Messages that were published by REST, without another “from”">backends <span class="quiet"><Id>server</Id></span></span>
    : <a href={href([sections[kind], name])}><Id>{name}</Id></a>
);

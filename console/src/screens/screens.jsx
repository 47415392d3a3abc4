// Which screen an address shows.

import { href } from "../router.js";
import { Empty } from "../parts/note.jsx";
import { Heading } from "../parts/layout.jsx";
import { Overview } from "./overview.jsx";
import { Devices } from "./devices.jsx";
import { Device } from "./device.jsx";
import { Channels } from "./channels.jsx";
import { Channel } from "./channel.jsx";
import { Commands } from "./commands.jsx";
import { Command } from "./command.jsx";
import { Groups } from "./groups.jsx";
import { Group } from "./group.jsx";
import { Usage } from "./usage.jsx";
import { Keys } from "./keys.jsx";

// one is the screen of a single thing, whose name is the address's second segment.
export const screens = [
  { name: "", label: "Overview", all: Overview },
  { name: "devices", label: "Devices", all: Devices, one: Device },
  { name: "channels", label: "Channels", all: Channels, one: Channel },
  { name: "commands", label: "Commands", all: Commands, one: Command },
  { name: "groups", label: "Groups", all: Groups, one: Group },
  { name: "usage", label: "Usage", all: Usage },
  { name: "keys", label: "Keys", all: Keys },
];

/** screenOf finds the screen of a route: its title, its element, and the section it is in. */
export function screenOf({ segments, query }) {
  const [name = "", id, ...more] = segments;
  const screen = screens.find((screen) => screen.name === name);
  if (screen && id === undefined) return { title: screen.label, section: name, element: <screen.all key={name} query={query} /> };
  if (screen?.one && more.length === 0) {
    return { title: id, section: name, element: <screen.one key={`${name} ${id}`} id={id} query={query} /> };
  }
  return { title: "Not found", section: null, element: <Nothing /> };
}

const Nothing = () => (
  <>
    <Heading title="Not found" />
    <Empty title="There is no such screen."><p><a href={href([])}>Go to the overview</a></p></Empty>
  </>
);

// The frame around every screen: header, navigation, main.

import { Component } from "preact";
import { useContext, useEffect, useRef } from "preact/hooks";
import { signOut } from "../api.js";
import { href, useRoute } from "../router.js";
import { Session } from "../session.js";
import { announce } from "./announce.jsx";
import { useAction } from "./form.jsx";
import { ErrorNote } from "./note.jsx";
import { Id } from "./text.jsx";
import { screens, screenOf } from "../screens/screens.jsx";

export function Layout({ onSignOut }) {
  const session = useContext(Session);
  const route = useRoute();
  const main = useRef(null);
  const nav = useRef(null);
  const { title, element, section } = screenOf(route);
  const address = route.segments.join("/");

  useEffect(() => {
    document.title = `${title} · Fleetwire`;
  }, [title]);

  // A new screen begins at its heading, for screen readers and the keyboard alike.
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    nav.current.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    scrollTo(0, 0);
    main.current.querySelector("h1")?.focus();
    announce(title);
  }, [address]);

  // The address holds the screen, so a link to #main would leave it.
  const skip = () => main.current.querySelector("h1")?.focus();
  const leave = useAction(() => signOut().then(onSignOut));

  return (
    <div class="layout">
      <button type="button" class="skip" onClick={skip}>Skip to the content</button>
      <header class="top">
        <a class="brand" href={href([])}><Mark />Fleetwire</a>
        <p class="who"><span class="unseen">App </span><Id>{session.app}</Id>{session.role === "viewer" && <span class="badge">view only</span>}</p>
        <button type="button" class="small" onClick={leave.run}>Sign out</button>
      </header>
      <nav class="side" aria-label="Screens" ref={nav}>
        <ul>
          {screens.map(({ name, label }) => (
            <li key={name}><a href={href(name ? [name] : [])} aria-current={section === name ? "page" : undefined}>{label}</a></li>
          ))}
        </ul>
      </nav>
      <main ref={main} id="main"><ErrorNote error={leave.error} /><Fence key={address}>{element}</Fence></main>
    </div>
  );
}

/** Fence keeps a fault of one screen from taking the others with it. */
class Fence extends Component {
  state = { error: null };
  static getDerivedStateFromError(error) {
    return { error };
  }
  render({ children }, { error }) {
    if (!error) return children;
    return <><Heading title="This screen has failed" /><ErrorNote error={error} retry={() => location.reload()} /></>;
  }
}

const Mark = () => (
  <svg class="mark" viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
    <circle cx="12" cy="12" r="3" /><path d="M5.6 18.4a9 9 0 0 1 0-12.8M18.4 5.6a9 9 0 0 1 0 12.8M8.5 15.5a5 5 0 0 1 0-7M15.5 8.5a5 5 0 0 1 0 7" />
  </svg>
);

/** Heading is the title of a screen; children are its buttons. */
export function Heading({ title, up, children }) {
  return (
    <div class="heading">
      <div>
        {up && <p class="up"><a href={up.href}>{up.label}</a></p>}
        <h1 tabIndex={-1}>{title}</h1>
      </div>
      {children && <div class="buttons">{children}</div>}
    </div>
  );
}

let sections = 0;

/** Panel is a titled part of a screen. */
export function Panel({ title, aside, children, class: more = "" }) {
  const id = useRef(null);
  id.current ??= `panel-${++sections}`;
  return (
    <section class={`panel ${more}`} aria-labelledby={id.current}>
      <div class="panel-head"><h2 id={id.current}>{title}</h2>{aside && <div class="aside">{aside}</div>}</div>
      {children}
    </section>
  );
}

// The console's page: signs in, and shows the screen that the address names.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { onSessionEnd, readSession } from "./api.js";
import { Layout } from "./parts/layout.jsx";
import { Announcer } from "./parts/announce.jsx";
import { ErrorNote } from "./parts/note.jsx";
import { forgetSamples } from "./samples.js";
import { Session } from "./session.js";
import { SignIn } from "./screens/signin.jsx";
import "./style.css";

function App() {
  const [session, setSession] = useState(undefined); // undefined: not known yet; null: none
  const [why, setWhy] = useState("");
  const [error, setError] = useState(null);

  const look = () =>
    readSession().then(
      (session) => (forgetSamples(), setError(null), setWhy(""), setSession(session)),
      (error) => (error.status === 401 ? setSession(null) : setError(error)),
    );

  useEffect(() => {
    onSessionEnd(() => {
      setSession((session) => {
        if (session) setWhy("Your session has ended. Sign in again.");
        return null;
      });
    });
    look();
  }, []);

  if (session) {
    return (
      <Session.Provider value={session}>
        <Layout onSignOut={() => (setSession(null), setWhy("You are signed out."))} />
      </Session.Provider>
    );
  }
  if (error) return <main class="alone"><h1>Fleetwire</h1><ErrorNote error={error} retry={look} /></main>;
  if (session === null) return <SignIn why={why} onSignedIn={look} />;
  return <main class="alone" aria-busy="true"><p class="quiet">Loading…</p></main>;
}

render(<><App /><Announcer /></>, document.getElementById("console"));

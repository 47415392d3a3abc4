// What to do when no device has connected yet.

import { Panel } from "./layout.jsx";

export function FirstDevice() {
  return (
    <Panel title="Connect the first device" class="first">
      <p>No device has connected yet. In the folder of <code>make run</code>, paste the <code>export</code> line that it prints, and start a camera that is written in Go:</p>
      <pre class="payload" tabIndex={0} role="region" aria-label="Command to start a camera">go run ./examples/go/camera -device camera-001</pre>
      <p>It shows here within seconds. Then open it under <a href="#/devices">Devices</a>, and send it the command <code>{`{"cmd":"reboot"}`}</code>.
        With a deployment of your own, mint a token with <code>fleetwire token camera-001</code>, and connect to <code class="wrap">{`${location.origin.replace(/^http/, "ws")}/v1?token=…`}</code>.</p>
    </Panel>
  );
}

"""A device that knows messages and nothing of commands: it prints what each message asks."""

import json
import sys

import websocket

URL, TOKEN, CHANNEL = sys.argv[1:]


def on_open(ws):
    ws.send(json.dumps({"type": "subscribe", "channel": CHANNEL, "requestId": "1"}))


def on_message(ws, text):
    frame = json.loads(text)
    if frame["type"] == "ack":
        print("subscribed", flush=True)
    elif frame["type"] == "message":
        print("asked to " + frame["data"]["cmd"], flush=True)


def on_close(ws, code, reason):
    print("closed", code, reason, flush=True)


websocket.WebSocketApp(URL + "/v1?token=" + TOKEN, on_open=on_open, on_message=on_message, on_close=on_close).run_forever()
